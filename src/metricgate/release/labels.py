"""Labels of an image: where it comes from, by the keys of the OCI image specification."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone

from metricgate.release.names import Context

PREFIX = "org.opencontainers.image."


def of(
    context: Context, *, version: str | None, title: str, source: str = "", more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The labels of a release, sorted by key.

    Args:
        context: What is released.
        version: The first tag.
        title: The image's name.
        source: The address of the repository.
        more: What else to say, or to say instead; an empty value leaves a label out.

    References:
        https://github.com/opencontainers/image-spec/blob/main/annotations.md
    """
    own = {
        "created": context.time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "revision": context.sha,
        "source": source,
        "title": title,
        "url": source,
        "version": version or "",
    }
    labels = {**{f"{PREFIX}{key}": value for key, value in own.items()}, **(more or {})}
    return {key: value for key, value in sorted(labels.items()) if value}
