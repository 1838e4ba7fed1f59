"""Artifacts and texts made to harm, made by code: what a stranger's workflow may upload, and what must not come of it."""
