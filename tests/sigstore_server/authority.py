"""A certificate authority that binds a key to whom a token names, and logs every certificate: Fulcio."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from tests.sigstore_server import log

SERVER = "https://github.com"
LIFETIME = timedelta(minutes=10)

_ARC = "1.3.6.1.4.1.57264.1"
_ISSUER = f"{_ARC}.1"
_CLAIMS = {8: "iss", 9: "job_workflow_ref", 12: "repository", 13: "sha", 14: "ref", 18: "workflow_ref", 20: "event_name"}
_ADDRESSES = {"job_workflow_ref", "repository", "workflow_ref"}


class Authority:
    """Fulcio and its certificate log.

    Attributes:
        ct_key: Signs for the certificate log.
        chain: The intermediate and the root, which are trusted.
    """

    def __init__(self) -> None:
        self.ct_key = ec.generate_private_key(ec.SECP256R1())
        root_key = ec.generate_private_key(ec.SECP384R1())
        root = _ca("root.localhost", root_key, issuer=None, issuer_key=root_key, depth=1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.chain = (_ca("fulcio.localhost", self._key, issuer=root, issuer_key=root_key, depth=0), root)

    def issue(self, request: x509.CertificateSigningRequest, claims: Mapping[str, Any]) -> list[str]:
        """A certificate for the key of a request and the workflow of a token, with its issuers, as PEM."""
        if not request.is_signature_valid:
            raise log.RefusedError("whoever asks does not have the key")
        builder = self._builder(request.public_key(), claims)
        bare = builder.sign(self._key, hashes.SHA256())
        stamp = x509.UnrecognizedExtension(ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS, self._stamp(bare))
        leaf = builder.add_extension(stamp, critical=False).sign(self._key, hashes.SHA256())
        return [each.public_bytes(serialization.Encoding.PEM).decode() for each in (leaf, *self.chain)]

    def _builder(self, key: Any, claims: Mapping[str, Any]) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder(serial_number=x509.random_serial_number())
            .subject_name(x509.Name([]))
            .issuer_name(self.chain[0].subject)
            .public_key(key)
            .not_valid_before(now)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{SERVER}/{claims['job_workflow_ref']}")]),
                critical=True,
            )
            .add_extension(_extension(_ISSUER, str(claims["iss"]).encode()), critical=False)
        )
        for number, claim in _CLAIMS.items():
            value = f"{SERVER}/{claims[claim]}" if claim in _ADDRESSES else str(claims[claim])
            builder = builder.add_extension(_extension(f"{_ARC}.{number}", asn1.encode_der(value)), critical=False)
        return builder

    def _stamp(self, bare: x509.Certificate) -> bytes:
        """The signed certificate timestamp of a certificate, as its extension holds it (RFC 6962, section 3.3)."""
        issuer = log.key_id(self._key.public_key())
        body = bare.tbs_certificate_bytes
        moment = int(datetime.now(timezone.utc).timestamp() * 1000)
        signed = struct.pack("!BBQH", 0, 0, moment, 1) + issuer + len(body).to_bytes(3, "big") + body + b"\0\0"
        signature = self.ct_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        stamp = (
            b"\0" + log.key_id(self.ct_key.public_key()) + struct.pack("!QHBBH", moment, 0, 4, 3, len(signature)) + signature
        )
        listed = len(stamp).to_bytes(2, "big") + stamp
        return asn1.encode_der(len(listed).to_bytes(2, "big") + listed)


def _extension(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def _ca(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    depth: int,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "local")])
    now = datetime.now(timezone.utc).replace(microsecond=0)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(serial_number=x509.random_serial_number())
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA384())
    )
