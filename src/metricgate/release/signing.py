"""Who signs the evidence: an EC key where there is one, or else the identity of the job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from metricgate.errors import UsageError
from metricgate.release import bundles
from metricgate.release.bundles import KeyVerifier, Verifier

KEY = "METRICGATE_SIGNING_KEY"
PASSWORD = "METRICGATE_SIGNING_KEY_PASSWORD"  # noqa: S105 - the name of a variable

_NEW_KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"


class Signer(Protocol):
    """Whoever can sign."""

    @property
    def who(self) -> str:
        """Whose signature it is, for people."""

    @property
    def verifier(self) -> Verifier:
        """Whoever accepts what it signs."""

    @property
    def options(self) -> tuple[str, ...]:
        """The options with which ``metricgate verify`` accepts what it signs."""

    def sign(self, content: bytes) -> bytes:
        """Sign a statement and give a Sigstore bundle.

        Raises:
            StageError: The service that signs does not.
        """


class KeySigner:
    """Signs with an EC key. The same statement gives the same bundle."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @property
    def who(self) -> str:
        """Whose signature it is, for people."""
        return self.verifier.who

    @property
    def options(self) -> tuple[str, ...]:
        """The options with which ``metricgate verify`` accepts what it signs."""
        return ("--key", "key.pub")

    @property
    def verifier(self) -> KeyVerifier:
        """Whoever accepts what this key signs."""
        return KeyVerifier(self._key.public_key())

    def sign(self, content: bytes) -> bytes:
        """Sign a statement and give a Sigstore bundle."""
        return bundles.seal(content, self._key)


def signer(environ: Mapping[str, str], *, key: Path | None = None) -> Signer:
    """Whoever signs here: the key of the command line, that of the environment, or the identity of the job.

    Args:
        environ: ``METRICGATE_SIGNING_KEY`` (PEM) and ``METRICGATE_SIGNING_KEY_PASSWORD``.
        key: A file with a private EC key.

    Raises:
        UsageError: There is nothing to sign with, or the key is not what it should be.
        StageError: Sigstore can't be reached.
    """
    password = environ.get(PASSWORD) or None
    if key is not None:
        try:
            content = key.read_bytes()
        except OSError as error:
            raise UsageError(f"the key can't be read: {error.strerror}", where=str(key), fix=_NEW_KEY) from None
        return KeySigner(_private(content, password, where=str(key)))
    if text := environ.get(KEY):
        return KeySigner(_private(text.encode(), password, where=KEY))
    if environ.get("GITHUB_ACTIONS") and environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        from metricgate.release import keyless

        return keyless.signer(environ)
    raise UsageError(
        "there is nothing to sign the evidence with",
        expected=f"--key, {KEY}, or a job of GitHub Actions with `permissions: id-token: write`",
        fix=f"{_NEW_KEY}\nmetricgate publish --key key.pem",
    )


def _private(content: bytes, password: str | None, *, where: str) -> ec.EllipticCurvePrivateKey:
    # What the library says about a key is not repeated: it may quote the key.
    try:
        found = serialization.load_pem_private_key(content, password.encode() if password else None)
    except TypeError:
        wanted = "has no password, and one is given" if password else "has a password"
        raise UsageError(f"the key {wanted}", where=where, fix=f"set or unset {PASSWORD}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            "this is no private key, or its password is another one", where=where, expected="an EC key as PEM", fix=_NEW_KEY
        ) from None
    if not isinstance(found, ec.EllipticCurvePrivateKey) or found.curve.name != "secp256r1":
        raise UsageError("this key is of another kind", where=where, expected="an EC key on the curve P-256", fix=_NEW_KEY)
    return found
