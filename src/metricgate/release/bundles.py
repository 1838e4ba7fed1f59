"""Signed statements: in-toto in DSSE in a Sigstore bundle, signed with an EC key as PyPI ``model-signing`` does it.

References:
    https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
    https://docs.sigstore.dev/about/bundle/
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.dsse import Envelope
from sigstore_models.bundle.v1 import Bundle

from metricgate.errors import InputError, UsageError

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

_HASHES: dict[int, type[hashes.HashAlgorithm]] = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}


class Verifier(Protocol):
    """Whoever can tell a good signature."""

    @property
    def who(self) -> str:
        """Whose signatures are good, for people."""

    def open(self, bundle: bytes) -> bytes:
        """The statement in a bundle.

        Raises:
            InputError: It is no bundle, or not signed by whom it has to be.
        """


class KeyVerifier:
    """Accepts what one key has signed.

    Attributes:
        key: The public key.
    """

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self.key = key

    @classmethod
    def read(cls, content: bytes, *, where: str) -> KeyVerifier:
        """Read a public key.

        Args:
            content: PEM.
            where: Where it was found, for messages.

        Raises:
            UsageError: It is no public key, or of another kind.
        """
        try:
            key = serialization.load_pem_public_key(content)
        except (ValueError, UnsupportedAlgorithm):
            raise UsageError(
                "this is no public key",
                where=where,
                expected="a public EC key as PEM",
                fix="openssl ec -in key.pem -pubout -out key.pub",
            ) from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in {"secp256r1", "secp384r1", "secp521r1"}:
            raise UsageError(
                "this key is of another kind", where=where, expected="an EC key on the curve P-256, P-384 or P-521"
            )
        return cls(key)

    @property
    def who(self) -> str:
        """Whose signatures are good, for people."""
        return f"the key {hint(self.key)[:16]}…"

    def open(self, bundle: bytes) -> bytes:
        """The statement in a bundle.

        Raises:
            InputError: It is no bundle, or not signed with this key.
        """
        found = read(bundle)
        material = found.verification_material
        if material.public_key is None:
            raise InputError("it is signed by an identity", expected=f"a signature with {self.who}")
        if material.public_key.hint and material.public_key.hint != hint(self.key):
            raise InputError(f"it is signed with another key, {material.public_key.hint[:16]}…", expected=self.who)
        envelope = found.dsse_envelope
        if envelope is None or len(envelope.signatures) != 1:
            raise InputError("it does not hold one signed statement", expected="a DSSE envelope with one signature")
        try:
            self.key.verify(
                envelope.signatures[0].sig, pae(envelope.payload, kind=envelope.payload_type), ec.ECDSA(algorithm(self.key))
            )
        except InvalidSignature:
            raise InputError("its signature does not match", expected=f"a signature with {self.who}") from None
        return payload(found)


def seal(content: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign a statement. The same statement and key give the same bundle.

    Args:
        content: The statement.
        key: The private key.

    References:
        https://www.rfc-editor.org/rfc/rfc6979
    """
    public = key.public_key()
    signature = key.sign(pae(content), ec.ECDSA(algorithm(public), deterministic_signing=True))
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint(public)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(content).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return Bundle.from_dict(document).to_json().encode()


def read(bundle: bytes) -> Bundle:
    """Read a bundle.

    Raises:
        InputError: It is none.
    """
    try:
        found = json.loads(bundle)
        # A protobuf leaves out what is empty; early versions of model-signing wrote the key itself.
        found["verificationMaterial"].setdefault("tlogEntries", [])
        if key := found["verificationMaterial"].get("publicKey"):
            found["verificationMaterial"]["publicKey"] = {"hint": key.get("hint", "")}
        return Bundle.from_dict(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError("it is no Sigstore bundle", expected=MEDIA_TYPE) from None


def payload(bundle: Bundle) -> bytes:
    """The statement in a bundle, whoever signed it.

    Raises:
        InputError: There is none.
    """
    envelope = bundle.dsse_envelope
    if envelope is None or envelope.payload_type != PAYLOAD_TYPE:
        raise InputError("it holds no in-toto statement", expected=f"a DSSE envelope of {PAYLOAD_TYPE}")
    return envelope.payload


def pae(content: bytes, *, kind: str = PAYLOAD_TYPE) -> bytes:
    """What is signed: a statement and what kind of content it is, told apart by their lengths."""
    return Envelope(content, kind, {}).pae()


def hint(key: ec.EllipticCurvePublicKey) -> str:
    """The name of a public key: the SHA-256 of its PEM."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def algorithm(key: ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm:
    """The hash that goes with a curve."""
    return _HASHES[key.curve.key_size]()


def marks(predicate_type: str) -> dict[str, str]:
    """The annotations of a referrer with a bundle, by which others find it.

    References:
        https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md
    """
    return {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicate_type}
