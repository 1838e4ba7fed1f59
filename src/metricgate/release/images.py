"""What images and their evidence can be read from: a registry, or a folder that was taken from one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from metricgate.release.oci import Descriptor


class Images(Protocol):
    """A repository of images with what refers to them."""

    @property
    def name(self) -> str:
        """What people call it: ``ghcr.io/acme/model``, or a folder."""

    def resolve(self, reference: str) -> Descriptor | None:
        """What a tag or digest stands for; None where there is no such thing."""

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """The manifest behind a tag or digest, checked against its digest.

        Raises:
            InputError: There is none, or it is not what its digest says.
            StageError: It can't be had.
        """

    def blob(self, digest: str) -> Iterator[bytes]:
        """A blob in pieces; after the last one its digest is checked.

        Raises:
            InputError: There is none, or it is not what its digest says.
            StageError: It can't be had.
        """

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """The manifests that name this one as their subject; none where there are none."""
