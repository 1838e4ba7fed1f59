"""Signing with an identity instead of a key: Sigstore, with the OpenID token that a job of GitHub Actions can ask for.

References:
    https://docs.sigstore.dev/about/overview/
    https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jwt
import requests
from cryptography import x509
from sigstore import dsse, oidc, sign
from sigstore.errors import Error as SigstoreError
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.verify import Verifier as SigstoreVerifier
from sigstore.verify import policy

from metricgate.errors import InputError, StageError, UsageError
from metricgate.release import bundles

GITHUB = "https://token.actions.githubusercontent.com"
TRUST_CONFIG = "METRICGATE_TRUST_CONFIG"

_CLAIMS = ("repository", "job_workflow_ref")
_WORKFLOW = re.compile(r"(?P<repository>https://[^/]+/[^/]+/[^/]+)/\.github/workflows/[^@]+@.+")

# The library warns that it works offline; that is what was asked for.
logging.getLogger("sigstore").addHandler(logging.NullHandler())


class IdentityVerifier:
    """Accepts what one identity has signed.

    Attributes:
        identity: The identity, exactly: a workflow with its ref, or an address.
        issuer: Who vouches for it.
        repository: The repository whose job signed. A workflow that others can call signs for all of them, so that its name
            alone says little; None for identities that are no workflow.
    """

    def __init__(self, root: TrustedRoot, *, identity: str, issuer: str, repository: str | None = None) -> None:
        match = _WORKFLOW.fullmatch(identity)
        self.identity = identity
        self.issuer = issuer
        self.repository = repository or (match["repository"] if match else None)
        self._verifier = SigstoreVerifier(trusted_root=root)

    @property
    def who(self) -> str:
        """Whose signatures are good, for people."""
        return self.identity

    def open(self, bundle: bytes) -> bytes:
        """The statement in a bundle.

        Raises:
            InputError: It is no bundle, or not signed by this identity, or Sigstore's logs don't know it.
        """
        material = bundles.read(bundle).verification_material
        if material.public_key is not None:
            raise InputError("it is signed with a key", expected=f"a signature of {self.identity}")
        conditions: list[policy.VerificationPolicy] = [policy.Identity(identity=self.identity, issuer=self.issuer)]
        if self.repository:
            conditions.append(policy.OIDCSourceRepositoryURI(self.repository))
        try:
            found = Bundle.from_json(bundle)
            if other := self._other(found.signing_certificate):
                raise InputError(f"it is signed by {other}", expected=f"a signature of {self.identity}")
            kind, content = self._verifier.verify_dsse(found, policy.AllOf(conditions))
        except (SigstoreError, ValueError, x509.ExtensionNotFound) as error:
            raise InputError(
                f"its signature does not hold: {error}"[:300], expected=f"a signature of {self.identity}"
            ) from None
        if kind != bundles.PAYLOAD_TYPE:
            raise InputError("it holds no in-toto statement", expected=bundles.PAYLOAD_TYPE)
        return content

    def _other(self, certificate: x509.Certificate) -> str | None:
        names = identities(certificate)
        return None if self.identity in names else ", ".join(names)[:300] or "nobody"


class IdentitySigner:
    """Signs with the identity of this job.

    Attributes:
        verifier: Whoever accepts what it signs.
        options: The options with which ``metricgate verify`` accepts what it signs.
    """

    def __init__(self, signer: sign.Signer, verifier: IdentityVerifier, *, shared: bool) -> None:
        self.verifier = verifier
        self.options = ("--identity", verifier.identity, *(("--repository", str(verifier.repository)) if shared else ()))
        self._signer = signer

    @property
    def who(self) -> str:
        """Whose signature it is, for people."""
        return self.verifier.who

    def sign(self, content: bytes) -> bytes:
        """Sign a statement, and have Sigstore's log keep it.

        Args:
            content: The statement.

        Raises:
            StageError: Sigstore does not sign.
        """
        try:
            return self._signer.sign_dsse(dsse.Statement(content)).to_json().encode()
        except Exception as error:  # noqa: BLE001 - the library has no base of its own for what its services may answer
            raise _failed(error) from None


def signer(environ: Mapping[str, str]) -> IdentitySigner:
    """Whoever signs with the identity of this job.

    Args:
        environ: The environment; the token itself is taken from that of this process.

    Raises:
        UsageError: This job has no identity.
        StageError: Sigstore can't be reached.
    """
    try:
        raw = oidc.detect_credential()
    except oidc.IdentityError as error:
        raise UsageError(
            f"this job has no identity: {error}"[:300],
            expected="a job that may ask for a token",
            fix="permissions: id-token: write",
        ) from None
    if raw is None:
        raise UsageError("this job has no identity", expected="a job of GitHub Actions with id-token: write")
    try:
        token = oidc.IdentityToken(raw)
        trust = config(environ, offline=False)
        server = environ.get("GITHUB_SERVER_URL", "https://github.com")
        claims = jwt.decode(raw, options={"verify_signature": False})  # Fulcio verifies it; this is what it will make of it
        repository, workflow = (f"{server}/{claims[name]}" if name in claims else None for name in _CLAIMS)
        identity = workflow or token.identity
        own = IdentityVerifier(trust.trusted_root, identity=identity, issuer=token.issuer)
        verifier = IdentityVerifier(trust.trusted_root, identity=identity, issuer=token.issuer, repository=repository)
        with sign.SigningContext.from_trust_config(trust).signer(token) as found:
            return IdentitySigner(found, verifier, shared=own.repository != verifier.repository)
    except Exception as error:  # noqa: BLE001 - as above
        raise _failed(error) from None


def config(environ: Mapping[str, str], *, offline: bool) -> ClientTrustConfig:
    """Which Sigstore to use and to trust: the public one, or the one that a file describes.

    Args:
        environ: ``METRICGATE_TRUST_CONFIG`` names a file as ``sigstore --trust-config`` takes it.
        offline: Whether to use the roots that came with the library, or were fetched before, and not to ask for newer ones.

    Raises:
        UsageError: The file is not what it should be.
        StageError: The public roots can't be fetched.
    """
    if file := environ.get(TRUST_CONFIG):
        try:
            return ClientTrustConfig.from_json(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"this can't be read: {error}"[:300], where=file, expected="a trust configuration of Sigstore"
            ) from None
    try:
        return ClientTrustConfig.production(offline=offline)
    except (SigstoreError, OSError, requests.RequestException) as error:
        raise StageError(f"Sigstore's roots can't be fetched: {error}"[:300], fix="--offline") from None


def identities(certificate: x509.Certificate) -> Sequence[str]:
    """Whom a certificate is for: workflows and addresses."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (*names.get_values_for_type(x509.UniformResourceIdentifier), *names.get_values_for_type(x509.RFC822Name))


def _failed(error: Exception) -> StageError:
    return StageError(
        f"Sigstore did not sign ({type(error).__name__}): {error}"[:300], fix="try again, or sign with a key: --key key.pem"
    )
