"""Measurements side by side, as ratios of two things that ran in turn."""
