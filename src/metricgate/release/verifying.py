"""``metricgate verify``: whether an image is what it claims to be, for a person or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metricgate.errors import ExitCode, UsageError
from metricgate.release import bundles, layout, verification
from metricgate.release.bundles import Verifier
from metricgate.release.images import Images
from metricgate.release.layout import Layout

LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked on the command line.

    Attributes:
        image: ``ghcr.io/acme/model:1.2.3``, ``…@sha256:…``, or an OCI layout (``folder``, ``folder:1.2.3``, ``folder@…``).
        key: A public EC key.
        identity: Who has to have signed, exactly.
        issuer: Who vouches for the identity; None for GitHub.
        repository: The repository whose job has to have signed; None for that of the identity.
        offline: Not to ask Sigstore for newer roots.
        model: A file or folder that has to be the model in the image.
        save: A folder to copy image and evidence into, as an OCI image layout.
    """

    image: str
    key: Path | None = None
    identity: str | None = None
    issuer: str | None = None
    repository: str | None = None
    offline: bool = False
    model: Path | None = None
    save: Path | None = None


def verify(asked: Asked, *, environ: Mapping[str, str], as_json: bool = False) -> tuple[str, ExitCode]:
    """Verify an image.

    Args:
        asked: What was asked.
        environ: The environment: where credentials and another Sigstore are named.
        as_json: Whether the answer is for a program.

    Returns:
        The text for standard output, and the exit code: 0 where every link holds, 4 where one is missing or broken.

    Raises:
        UsageError: What was asked can't be right, or there is no such image.
        StageError: The registry, or Sigstore, can't be reached.
    """
    verifier = verifier_of(asked, environ=environ)
    images, reference = _images(asked.image, environ)
    if asked.model is not None and not asked.model.exists():
        raise UsageError("there is no such model", where=str(asked.model), expected="a file or a folder")
    if asked.save is not None:
        images = layout.save(images, reference, asked.save)
    found = verification.verify(
        images, reference, verifier=verifier, model=asked.model, repository=getattr(verifier, "repository", None)
    )
    return found.to_json() if as_json else found.to_text(), found.exit_code


def verifier_of(asked: Asked, *, environ: Mapping[str, str]) -> Verifier:
    """Whose signatures count.

    Raises:
        UsageError: Nobody's or two persons', or the key is none.
        StageError: Sigstore can't be reached.
    """
    if (asked.key is None) == (asked.identity is None):
        raise UsageError(
            "--key and --identity exclude each other" if asked.key else "whose signatures count is not said",
            expected="--key or --identity",
            fix="--key release.pub\n--identity https://github.com/acme/model/.github/workflows/release.yml@refs/tags/v1.2.3",
        )
    if asked.key is not None:
        if asked.issuer or asked.repository:
            raise UsageError("--issuer and --repository are about identities", expected="--key alone")
        try:
            content = asked.key.read_bytes()
        except OSError as error:
            raise UsageError(f"the key can't be read: {error.strerror}", where=str(asked.key)) from None
        return bundles.KeyVerifier.read(content, where=str(asked.key))
    from metricgate.release import keyless

    return keyless.IdentityVerifier(
        keyless.config(environ, offline=asked.offline).trusted_root,
        identity=str(asked.identity),
        issuer=asked.issuer or keyless.GITHUB,
        repository=asked.repository,
    )


def _images(image: str, environ: Mapping[str, str]) -> tuple[Images, str]:
    """Where an image is, and its tag or digest there."""
    for folder, reference in ((image, LATEST), image.rpartition("@")[::2], image.rpartition(":")[::2]):
        if folder and (Path(folder) / layout.MARK).is_file():
            return Layout(Path(folder)), reference
    from metricgate.release.registry import Registry

    name, at, value = image.partition("@")
    if at:
        tail = name.rpartition("/")[2]
        return Registry.connect(name.removesuffix(tail) + tail.partition(":")[0], environ=environ), value
    head, slash, tail = image.rpartition("/")
    tail, _, tag = tail.partition(":")
    return Registry.connect(f"{head}{slash}{tail}", environ=environ), tag or LATEST
