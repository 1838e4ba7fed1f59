"""Signing with the identity of a job: Sigstore's real client against a Sigstore on localhost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sigstore.models import ClientTrustConfig
from tests.evidence_scene import FILES, REPOSITORY, WORKFLOW, Release, Shelf, digest, known, resign
from tests.sigstore_server.server import SigstoreServer

from metricgate.errors import ExitCode, InputError, StageError, UsageError
from metricgate.release import keyless, signing, stated, statements, verification
from metricgate.release.keyless import IdentityVerifier


@pytest.fixture
def sigstore() -> Iterator[SigstoreServer]:
    with SigstoreServer() as server:
        yield server


@pytest.fixture
def environ(sigstore: SigstoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a job; the client of Sigstore looks for its token in that of the process."""
    (tmp_path / "trust.json").write_text(sigstore.trust_config())
    found = {**sigstore.environ, keyless.TRUST_CONFIG: str(tmp_path / "trust.json")}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def _verifier(sigstore: SigstoreServer, **changes: Any) -> IdentityVerifier:
    root = ClientTrustConfig.from_json(sigstore.trust_config()).trusted_root
    return IdentityVerifier(root, **{"identity": WORKFLOW, "issuer": keyless.GITHUB, **changes})


STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://example.com/1",
        "predicate": {"a": 1},
    }
).encode()


def test_a_job_signs_without_a_key_and_its_workflow_is_the_identity(sigstore: SigstoreServer, environ: dict[str, str]) -> None:
    signer = signing.signer(environ)
    bundle = signer.sign(STATEMENT)
    assert _verifier(sigstore).open(bundle) == STATEMENT
    assert signer.who == WORKFLOW
    assert signer.options == ("--identity", WORKFLOW)
    assert len(sigstore.log.leaves) == 1


def test_a_release_that_a_job_signed_verifies_from_the_image_to_the_data(
    sigstore: SigstoreServer, environ: dict[str, str]
) -> None:
    shelf = Shelf()
    Release().publish(shelf, signing.signer(environ))
    verifier = _verifier(sigstore)
    found = verification.verify(shelf, "1.2.3", verifier=verifier, repository=verifier.repository)
    assert found.exit_code == ExitCode.PASSED
    assert found.signed_by == WORKFLOW
    assert len(sigstore.log.leaves) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": WORKFLOW.replace("v1.2.3", "v1.2.4")},
        {"identity": WORKFLOW.replace("release.yml", "other.yml")},
        {"identity": f"{REPOSITORY}/.github/workflows/.*"},
        {"issuer": "https://gitlab.com"},
        {"repository": "https://github.com/evil/model"},
    ],
)
def test_another_identity_issuer_or_repository_is_not_accepted(
    sigstore: SigstoreServer, environ: dict[str, str], changes: dict[str, str]
) -> None:
    bundle = signing.signer(environ).sign(STATEMENT)
    with pytest.raises(InputError):
        _verifier(sigstore, **changes).open(bundle)


def test_a_workflow_that_others_call_does_not_let_them_sign_for_each_other(
    sigstore: SigstoreServer, environ: dict[str, str]
) -> None:
    shared = "https://github.com/tools/workflows/.github/workflows/model-release.yml@refs/tags/v1"
    sigstore.claims["job_workflow_ref"] = shared.removeprefix("https://github.com/")
    signer = signing.signer(environ)
    bundle = signer.sign(STATEMENT)
    assert signer.options == ("--identity", shared, "--repository", REPOSITORY)
    assert _verifier(sigstore, identity=shared, repository=REPOSITORY).open(bundle) == STATEMENT
    for repository in ("https://github.com/evil/model", None):
        with pytest.raises(InputError, match="OIDCSourceRepositoryURI"):
            _verifier(sigstore, identity=shared, repository=repository).open(bundle)


def test_a_release_that_says_it_is_from_another_repository_than_the_job_is_found(
    sigstore: SigstoreServer, environ: dict[str, str]
) -> None:
    shelf = Shelf()
    Release(changed={"repository": "https://github.com/acme/another"}).publish(shelf, signing.signer(environ))
    verifier = _verifier(sigstore)
    found = verification.verify(shelf, "1.2.3", verifier=verifier, repository=verifier.repository)
    assert f"signed in {REPOSITORY}" in found.headline


def test_what_was_changed_after_it_was_signed_or_is_from_another_sigstore_is_not_accepted(
    sigstore: SigstoreServer, environ: dict[str, str]
) -> None:
    bundle = signing.signer(environ).sign(STATEMENT)
    changed = resign(bundle, lambda statement: statement["predicate"].update(a=2))
    with pytest.raises(InputError, match="signature does not hold"):
        _verifier(sigstore).open(changed)
    with SigstoreServer() as another, pytest.raises(InputError, match="signature does not hold"):
        _verifier(another).open(bundle)


@pytest.mark.parametrize("part", ["tlogEntries", "certificate"])
def test_a_bundle_without_its_log_entry_or_certificate_is_not_accepted(
    sigstore: SigstoreServer, environ: dict[str, str], part: str
) -> None:
    document = json.loads(signing.signer(environ).sign(STATEMENT))
    del document["verificationMaterial"][part]
    with pytest.raises(InputError):
        _verifier(sigstore).open(json.dumps(document).encode())


def test_a_log_entry_of_another_statement_is_not_accepted(sigstore: SigstoreServer, environ: dict[str, str]) -> None:
    signer = signing.signer(environ)
    first, second = json.loads(signer.sign(STATEMENT)), json.loads(signer.sign(STATEMENT.replace(b'"a": 1', b'"a": 2')))
    first["verificationMaterial"]["tlogEntries"] = second["verificationMaterial"]["tlogEntries"]
    with pytest.raises(InputError, match="signature does not hold"):
        _verifier(sigstore).open(json.dumps(first).encode())


@pytest.mark.parametrize("status", [400, 500, 503])
@pytest.mark.parametrize("path", ["/api/v2/signingCert", "/api/v1/log/entries"])
def test_a_sigstore_that_does_not_sign_is_a_failure_that_names_the_other_way(
    sigstore: SigstoreServer, environ: dict[str, str], path: str, status: int
) -> None:
    sigstore.failing[path] = status
    with pytest.raises(StageError, match="Sigstore did not sign") as failed:
        signing.signer(environ).sign(STATEMENT)
    assert "--key" in str(failed.value)
    assert environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] not in str(failed.value)


def test_a_job_that_may_not_ask_for_a_token_is_told_which_permission_it_needs(
    sigstore: SigstoreServer, environ: dict[str, str]
) -> None:
    sigstore.failing["/token"] = 403
    with pytest.raises(UsageError, match="no identity") as refused:
        signing.signer(environ)
    assert "id-token: write" in str(refused.value)


def test_a_trust_configuration_that_is_none_is_wrong_use(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "trust.json").write_text("{}")
    with pytest.raises(UsageError, match="can't be read"):
        keyless.config(environ, offline=True)
    with pytest.raises(UsageError, match="can't be read"):
        keyless.config({keyless.TRUST_CONFIG: str(tmp_path / "nothing.json")}, offline=True)


def _cli(environ: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environ})


def test_the_command_of_model_signing_verifies_what_a_job_signed_and_we_what_it_signs(
    sigstore: SigstoreServer, environ: dict[str, str], tmp_path: Path
) -> None:
    model, signature, trust = tmp_path / "model", tmp_path / "model.sig", tmp_path / "trust.json"
    for name, content in FILES.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)
    told = known({name: digest(content) for name, content in FILES.items()})
    statement = next(each for each in statements.all_of(told) if each.name == statements.MODEL)
    signature.write_bytes(signing.signer(environ).sign(statement.content))
    who = ("--identity", WORKFLOW, "--identity_provider", keyless.GITHUB)
    verified = _cli(environ, "verify", "sigstore", "--signature", signature, *who, "--trust_config", trust, model)
    assert verified.returncode == 0, verified.stderr

    ambient = ("--use_ambient_credentials", "--trust_config", trust)
    signed = _cli(environ, "sign", "sigstore", "--signature", signature, *ambient, model)
    assert signed.returncode == 0, signed.stderr
    document = json.loads(_verifier(sigstore).open(signature.read_bytes()))
    assert stated.unlike(document, told.model_files) == ""
