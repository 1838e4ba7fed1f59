"""Signing and verifying, with others on the other side: the command of model-signing, and signatures that Sigstore keeps."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import model_signing.verifying
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.evidence_scene import FILES, KEY, OTHER_KEY, digest, flip, known, resign

from metricgate.errors import InputError, UsageError
from metricgate.release import bundles, keyless, signing, stated, statements
from metricgate.release.bundles import KeyVerifier
from metricgate.release.signing import KeySigner
from metricgate.train import digest as digests

VECTORS = Path(__file__).parents[1] / "vectors" / "model-signing"
STATEMENT = statements.all_of(known({name: digest(content) for name, content in FILES.items()}))[0]
SIGSTORE = ("stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _hashes(model: Path) -> dict[str, str]:
    files = {model.name: model} if model.is_file() else digests.files_in(model)
    return {name: digests.of_file(file) for name, file in files.items()}


def _private(key: Any = KEY, password: str | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    found: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return found


def _public(key: Any = KEY) -> bytes:
    found: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def _sign(model: Path, signer: signing.Signer) -> bytes:
    hashes = _hashes(model)
    told = replace(known(hashes), model_digest=digests.of_path(model), model_files=hashes)
    return signer.sign(next(each.content for each in statements.all_of(told) if each.name == statements.MODEL))


@pytest.mark.parametrize("name", ["", "saved_model.pb"])
def test_model_signing_verifies_what_we_sign_and_finds_a_changed_byte(model: Path, tmp_path: Path, name: str) -> None:
    signature, key = tmp_path / "model.sig", tmp_path / "key.pub"
    signature.write_bytes(_sign(model / name, KeySigner(KEY)))
    key.write_bytes(_public())
    verifier = model_signing.verifying.Config()  # type: ignore[no-untyped-call]
    verifier.use_elliptic_key_verifier(public_key=key)
    verifier.verify(model / name, signature)
    told = _cli("verify", "key", "--signature", signature, "--public_key", key, model / name)
    assert told.returncode == 0, told.stderr
    (model / "saved_model.pb").write_bytes(flip(FILES["saved_model.pb"]))
    with pytest.raises(ValueError, match="Signature mismatch"):
        verifier.verify(model / name, signature)


@pytest.mark.parametrize("name", ["", "saved_model.pb"])
def test_we_verify_what_the_command_of_model_signing_signs_and_find_a_changed_byte(
    model: Path, tmp_path: Path, name: str
) -> None:
    signature, key = tmp_path / "model.sig", tmp_path / "key.pem"
    key.write_bytes(_private())
    told = _cli("sign", "key", "--signature", signature, "--private_key", key, model / name)
    assert told.returncode == 0, told.stderr
    document = json.loads(KeyVerifier.read(_public(), where="key.pub").open(signature.read_bytes()))
    assert stated.kind_of(document) == statements.MODEL
    assert stated.unlike(document, _hashes(model / name)) == ""
    (model / "saved_model.pb").write_bytes(flip(FILES["saved_model.pb"]))
    assert stated.unlike(document, _hashes(model / name)) in {"the model is another file", "saved_model.pb has other bytes"}


def test_files_that_the_signer_of_a_model_left_out_are_left_out(model: Path, tmp_path: Path) -> None:
    signature, key = model / "model.sig", tmp_path / "key.pem"
    key.write_bytes(_private())
    ignored = ["--ignore-paths", model / "variables"]
    assert _cli("sign", "key", "--signature", signature, "--private_key", key, *ignored, model).returncode == 0
    document = json.loads(KeyVerifier.read(_public(), where="key.pub").open(signature.read_bytes()))
    assert stated.unlike(document, _hashes(model)) == ""
    (model / "variables_too").write_bytes(b"")
    assert stated.unlike(document, _hashes(model)) == "variables_too was added"


def test_a_signature_that_lists_shards_says_that_it_can_not_be_checked_here() -> None:
    document = {"predicate": {"serialization": {"method": "shards", "hash_type": "sha256"}, "resources": []}}
    assert "shards by sha256" in stated.unlike(document, {"a": digest("a")})


def _vectors(kind: str) -> list[Path]:
    return sorted(path for path in VECTORS.iterdir() if path.name.endswith(kind))


def _listed(folder: Path, document: Mapping[str, Any]) -> dict[str, str]:
    """The files of a vector without those that its own test leaves out on the command line."""
    left_out = {"model.sig", "ignore-me"} if "ignore_paths" not in document["predicate"]["serialization"] else {}
    return {name: value for name, value in _hashes(folder).items() if name not in left_out}


@pytest.mark.parametrize("folder", _vectors("elliptic-key"), ids=lambda path: path.name)
def test_the_signatures_with_a_key_that_model_signing_publishes_hold(folder: Path) -> None:
    verifier = KeyVerifier.read((VECTORS / "signing-key-pub.pem").read_bytes(), where="signing-key-pub.pem")
    bundle = (folder / "model.sig").read_bytes()
    document = json.loads(verifier.open(bundle))
    assert stated.unlike(document, _listed(folder, document)) == ""
    assert stated.unlike(document, {**_listed(folder, document), "signme-1": digest("other")}) != ""
    with pytest.raises(InputError, match=r"another key|does not match"):  # early versions did not name the key
        KeySigner(KEY).verifier.open(bundle)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Sigstore's public roots as they came with the library, in a home of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return keyless.config({}, offline=True).trusted_root


@pytest.mark.parametrize("folder", _vectors("sigstore"), ids=lambda path: path.name)
def test_the_signatures_of_sigstore_that_model_signing_publishes_hold_offline(folder: Path, root: Any) -> None:
    identity, issuer = SIGSTORE
    bundle = (folder / "model.sig").read_bytes()
    document = json.loads(keyless.IdentityVerifier(root, identity=identity, issuer=issuer).open(bundle))
    assert stated.unlike(document, _listed(folder, document)) == ""
    other = keyless.IdentityVerifier(root, identity="mallory@example.com", issuer=issuer)
    with pytest.raises(InputError, match=f"signed by {identity}"):
        other.open(bundle)
    with pytest.raises(InputError, match="OIDCIssuer"):
        keyless.IdentityVerifier(root, identity=identity, issuer=keyless.GITHUB).open(bundle)
    changed = resign(bundle, lambda statement: statement["predicate"]["resources"][0].update(digest="0" * 64))
    with pytest.raises(InputError, match="signature does not hold"):
        keyless.IdentityVerifier(root, identity=identity, issuer=issuer).open(changed)


def test_an_identity_is_compared_exactly_and_never_as_a_pattern(root: Any) -> None:
    bundle = (_vectors("sigstore")[-1] / "model.sig").read_bytes()
    for pattern in (".*", "stefanb@us.ibm.*", "stefanb@us.ibm.com.evil", "STEFANB@us.ibm.com", ""):
        with pytest.raises(InputError):
            keyless.IdentityVerifier(root, identity=pattern, issuer=SIGSTORE[1]).open(bundle)


def test_a_key_does_not_accept_an_identity_nor_an_identity_a_key(root: Any) -> None:
    with pytest.raises(InputError, match="signed by an identity"):
        KeySigner(KEY).verifier.open((_vectors("sigstore")[-1] / "model.sig").read_bytes())
    with pytest.raises(InputError, match="signed with a key"):
        keyless.IdentityVerifier(root, identity=SIGSTORE[0], issuer=SIGSTORE[1]).open(KeySigner(KEY).sign(STATEMENT.content))


def test_a_workflow_signs_for_its_own_repository_unless_another_is_asked_for(root: Any) -> None:
    workflow = "https://github.com/acme/model/.github/workflows/release.yml@refs/tags/v1.2.3"
    assert keyless.IdentityVerifier(root, identity=workflow, issuer="x").repository == "https://github.com/acme/model"
    shared = keyless.IdentityVerifier(root, identity=workflow, issuer="x", repository="https://github.com/other/model")
    assert shared.repository == "https://github.com/other/model"
    assert keyless.IdentityVerifier(root, identity="me@example.com", issuer="x").repository is None


def test_the_same_statement_and_key_give_the_same_bundle() -> None:
    assert KeySigner(KEY).sign(STATEMENT.content) == KeySigner(KEY).sign(STATEMENT.content)
    assert KeySigner(KEY).sign(STATEMENT.content) != KeySigner(OTHER_KEY).sign(STATEMENT.content)


def test_a_bundle_with_a_key_looks_as_model_signing_writes_it(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(_private())
    (tmp_path / "model").write_bytes(b"weights")
    arguments = ("--signature", tmp_path / "model.sig", "--private_key", tmp_path / "key.pem", tmp_path / "model")
    assert _cli("sign", "key", *arguments).returncode == 0
    theirs = json.loads((tmp_path / "model.sig").read_bytes())
    ours = json.loads(KeySigner(KEY).sign(STATEMENT.content))
    assert ours["mediaType"] == theirs["mediaType"]
    assert ours["verificationMaterial"] == theirs["verificationMaterial"]
    assert _shape(ours) == _shape(theirs)


def _shape(document: object) -> object:
    if isinstance(document, dict):
        return {key: _shape(value) for key, value in document.items()}
    return [_shape(each) for each in document] if isinstance(document, list) else type(document).__name__


@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_bundle_with_a_changed_bit_is_refused_or_says_exactly_the_same(at: int, bit: int) -> None:
    bundle = bytearray(KeySigner(KEY).sign(STATEMENT.content))
    bundle[at % len(bundle)] ^= 1 << bit
    try:
        content = KeySigner(KEY).verifier.open(bytes(bundle))
    except InputError:
        return
    assert content == STATEMENT.content


@pytest.mark.parametrize(
    "bundle", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"verificationMaterial": 1}', b"[" * 100_000, b'{"mediaType": "x"}']
)
def test_what_is_no_bundle_is_refused_in_words(bundle: bytes, root: Any) -> None:
    identity = keyless.IdentityVerifier(root, identity="me@example.com", issuer="x")
    for verifier in (KeySigner(KEY).verifier, identity):
        with pytest.raises(InputError, match="no Sigstore bundle"):
            verifier.open(bundle)


def test_a_signed_thing_that_is_no_statement_is_refused() -> None:
    document = json.loads(KeySigner(KEY).sign(STATEMENT.content))
    document["dsseEnvelope"]["payloadType"] = "text/plain"
    with pytest.raises(InputError, match="does not match"):  # the type is signed as well
        KeySigner(KEY).verifier.open(json.dumps(document).encode())


def test_what_is_signed_as_something_else_than_a_statement_is_refused() -> None:
    document = json.loads(KeySigner(KEY).sign(STATEMENT.content))
    signature = KEY.sign(bundles.pae(STATEMENT.content, kind="text/plain"), ec.ECDSA(hashes.SHA256()))
    document["dsseEnvelope"]["payloadType"] = "text/plain"
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    with pytest.raises(InputError, match="no in-toto statement"):
        KeySigner(KEY).verifier.open(json.dumps(document).encode())


def test_two_signatures_in_one_bundle_are_refused() -> None:
    document = json.loads(KeySigner(KEY).sign(STATEMENT.content))
    document["dsseEnvelope"]["signatures"] *= 2
    with pytest.raises(InputError, match="one signed statement"):
        KeySigner(KEY).verifier.open(json.dumps(document).encode())


def test_the_key_comes_from_a_file_or_from_the_environment_with_a_password_where_it_has_one(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    expected = KeySigner(KEY).sign(STATEMENT.content)
    file.write_bytes(_private())
    assert signing.signer({}, key=file).sign(STATEMENT.content) == expected
    assert signing.signer({signing.KEY: _private().decode()}).sign(STATEMENT.content) == expected
    file.write_bytes(_private(password="hunter2"))
    assert signing.signer({signing.PASSWORD: "hunter2"}, key=file).sign(STATEMENT.content) == expected


def test_the_file_of_the_command_line_comes_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(_private(OTHER_KEY))
    found = signing.signer({signing.KEY: _private().decode()}, key=tmp_path / "key.pem")
    assert found.who == KeySigner(OTHER_KEY).who


@pytest.mark.parametrize(
    ("content", "password", "words"),
    [
        (b"", None, "no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", None, "no private key"),
        (_public(), None, "no private key"),
        (_private(password="hunter2"), None, "has a password"),
        (_private(password="hunter2"), "wrong", "another one"),
        (_private(), "hunter2", "has no password"),
        (_private(rsa.generate_private_key(65537, 2048)), None, "another kind"),
        (_private(ec.generate_private_key(ec.SECP256K1())), None, "another kind"),
    ],
)
def test_a_key_that_can_not_sign_is_refused_without_showing_it(
    tmp_path: Path, content: bytes, password: str | None, words: str
) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(UsageError, match=words) as refused:
        signing.signer({signing.PASSWORD: password or ""}, key=tmp_path / "key.pem")
    assert "c2VjcmV0" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_without_a_key_and_outside_of_github_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to sign") as refused:
        signing.signer({})
    assert "openssl genpkey" in str(refused.value)
    with pytest.raises(UsageError, match="can't be read"):
        signing.signer({}, key=tmp_path / "nothing.pem")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no public key"),
        (_private(), "no public key"),
        (_public(rsa.generate_private_key(65537, 2048)), "another kind"),
        (_public(ec.generate_private_key(ec.SECP256K1())), "another kind"),
    ],
)
def test_a_public_key_that_is_none_is_refused_and_the_way_to_make_one_named(content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        KeyVerifier.read(content, where="key.pub")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_keys_of_the_curves_that_model_signing_knows_are_verified(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    bundle = bundles.seal(STATEMENT.content, key)
    assert KeyVerifier(key.public_key()).open(bundle) == STATEMENT.content


def test_a_referrer_is_marked_so_that_others_find_it() -> None:
    assert bundles.marks(statements.TEST_RESULT) == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://in-toto.io/attestation/test-result/v0.1",
    }
