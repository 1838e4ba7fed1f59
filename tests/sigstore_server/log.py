"""A transparency log: an append-only Merkle tree with signed checkpoints, as Rekor (version 1) answers for it."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ORIGIN = "rekor.localhost - 1"


class RefusedError(Exception):
    """What was sent is not what the log keeps."""


def key_id(key: ec.EllipticCurvePublicKey) -> bytes:
    """The name of a log: the SHA-256 of its key (RFC 6962, section 3.2)."""
    return hashlib.sha256(public_bytes(key)).digest()


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\0" + leaf).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The hash of a Merkle tree (RFC 6962, section 2.1)."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:middle]) + root(leaves[middle:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The audit path of a leaf (RFC 6962, section 2.1.1)."""
    if len(leaves) == 1:
        return []
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    if index < middle:
        return [*path(index, leaves[:middle]), root(leaves[middle:])]
    return [*path(index - middle, leaves[middle:]), root(leaves[:middle])]


def canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class Log:
    """Rekor.

    Attributes:
        key: Signs entries and checkpoints.
        leaves: The bodies of the entries.
    """

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.leaves: list[bytes] = []

    def add(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Keep a signed statement and answer with the proof that it is kept.

        Raises:
            RefusedError: It is not of the kind ``dsse`` 0.0.1, or its signature does not hold.
        """
        if (proposed.get("kind"), proposed.get("apiVersion")) != ("dsse", "0.0.1"):
            raise RefusedError("only dsse 0.0.1 is kept here")
        content = proposed["spec"]["proposedContent"]
        body = canonical(_entry(content["envelope"], content["verifiers"]))
        self.leaves.append(body)
        index, size = len(self.leaves) - 1, len(self.leaves)
        now = int(datetime.now(timezone.utc).timestamp())
        log_id = key_id(self.key.public_key()).hex()
        promise = {"body": _b64(body), "integratedTime": now, "logID": log_id, "logIndex": index}
        proof = {
            "checkpoint": self._checkpoint(),
            "hashes": [each.hex() for each in path(index, self.leaves)],
            "logIndex": index,
            "rootHash": root(self.leaves).hex(),
            "treeSize": size,
        }
        verification = {"inclusionProof": proof, "signedEntryTimestamp": _b64(self._sign(canonical(promise)))}
        return {uuid.uuid4().hex: {**promise, "verification": verification}}

    def _checkpoint(self) -> str:
        note = f"{ORIGIN}\n{len(self.leaves)}\n{_b64(root(self.leaves))}\n"
        signature = key_id(self.key.public_key())[:4] + self._sign(note.encode())
        return f"{note}\n\u2014 rekor.localhost {_b64(signature)}\n"

    def _sign(self, content: bytes) -> bytes:
        return self.key.sign(content, ec.ECDSA(hashes.SHA256()))


def _entry(envelope: str, verifiers: Sequence[str]) -> dict[str, Any]:
    found = json.loads(envelope)
    payload = base64.b64decode(found["payload"])
    kind = found["payloadType"]
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    signatures = []
    for signature, verifier in zip(found["signatures"], verifiers, strict=True):
        key = x509.load_pem_x509_certificate(base64.b64decode(verifier)).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise RefusedError("only elliptic curves are known here")
        key.verify(base64.b64decode(signature["sig"]), signed, ec.ECDSA(hashes.SHA256()))
        signatures.append({"signature": signature["sig"], "verifier": verifier})
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(envelope.encode()).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": signatures,
        },
    }


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
