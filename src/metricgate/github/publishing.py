"""The actions ``publish`` and ``verify``: a release with what GitHub knows of its tag, and its image seen from outside.

What they work with is only installed for these two, so it is imported where it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from metricgate import config_file
from metricgate.errors import ExitCode, UsageError
from metricgate.github import announcing, commands, event, recorded, settings
from metricgate.github.job import Job
from metricgate.release import naming, notes

if TYPE_CHECKING:
    from metricgate.config import Config
    from metricgate.release.candidate import Candidate
    from metricgate.release.published import Published

TAGS = "refs/tags/"
_EXAMPLE = 'on:\n  push: {tags: ["v*"]}'


def publish(job: Job) -> int:
    """Publish the model of the tag that started the workflow, then write its release on GitHub."""
    from metricgate import releasing

    given, work = job.settings, job.work
    for secret in (given.registry_password, given.key):
        job.runner.mask(secret)
    if work.kind == "nothing":
        job.runner.say(f"there is nothing to do: {work.why}")
        return ExitCode.PASSED
    if work.kind not in {"release", "record"}:
        raise UsageError(f"`{given.event_name}` releases nothing", expected="a tag that is pushed", where="on:", fix=_EXAMPLE)
    environ = environ_of(job)
    config = config_file.load(given.workspace / given.config, default_name=job.model_name)
    published, found = releasing.publish(
        releasing.Wanted(
            config=given.workspace / given.config,
            images=given.images,
            rules=given.rules,
            flavor=given.flavor,
            labels=given.labels,
            default_branch=_default_branch(job),
            model=given.model or _uploaded(job, config),
            allow_stale=given.allow_stale,
            push=given.push,
        ),
        environ=environ,
        say=job.runner.say,
    )
    _told(job, published, found, environ)
    ref = environ.get("GITHUB_REF", "")
    if published.pushed and job.repository is not None and ref.startswith(TAGS):
        announcing.announce(
            job, job.repository, published, found, tag=ref.removeprefix(TAGS), config=config, verify=_verify(published, environ)
        )
    return ExitCode.PASSED


def verify(job: Job) -> int:
    """Walk the evidence of an image; a link that does not hold fails the step."""
    from metricgate.release import verifying

    given = job.settings
    job.runner.mask(given.registry_password)
    asked = verifying.Asked(
        image=given.images[0],
        key=given.public_key,
        identity=given.identity or None,
        issuer=given.issuer or None,
        repository=given.signed_in or None,
        model=given.model,
    )
    text, code = verifying.verify(asked, environ=environ_of(job), as_json=True)
    document = json.loads(text)
    file = job.folder("verification") / "verification.json"
    file.write_text(text, encoding="utf-8")
    holds = code == ExitCode.PASSED
    for name, value in (("verified", str(holds).lower()), ("digest", document["digest"]), ("report", str(file))):
        job.runner.output(name, value)
    shown = _chain(document)
    job.runner.say(shown)
    if not holds:
        job.runner.annotate("error", document["headline"], title="The image is not proven")
    title = "✅ The image is what it claims to be" if holds else "❌ The image is not proven"
    job.runner.summary(f"### {title}\n\n{commands.fenced(shown)}")
    return code


def environ_of(job: Job) -> dict[str, str]:
    """The environment of a release: that of the job, with its secrets under the names that metricgate has for them."""
    given = job.settings
    secrets = {
        "METRICGATE_REGISTRY_USERNAME": given.registry_username,
        "METRICGATE_REGISTRY_PASSWORD": given.registry_password,
        "METRICGATE_SIGNING_KEY": given.key,
        "GITHUB_TOKEN": given.token,
    }
    inherited = {name: value for name, value in job.environ.items() if not name.startswith(settings.PREFIX)}
    return {**inherited, **{name: value for name, value in secrets.items() if value}}


def _default_branch(job: Job) -> str:
    payload = event.read(job.settings.event_file).get("repository")
    branch = payload.get("default_branch") if isinstance(payload, dict) else None
    return branch if isinstance(branch, str) else ""


def _uploaded(job: Job, config: Config) -> Path | None:
    """The model from the artifact of the run that trained it; None where models are kept elsewhere, or no run is known."""
    from metricgate.github import weights
    from metricgate.release import candidate

    given, store = job.settings, recorded.store_of(job, config)
    if config.baseline.models is not None or job.repository is None or store is None:
        return None
    found = candidate.find(
        store,
        config,
        job.checkout.head(),
        root=given.workspace,
        path=str(given.config),
        branch=_default_branch(job),
        allow_stale=given.allow_stale,
    )
    run = found.judged.workflow
    if run is None:
        return None
    job.runner.say(f"downloading the model of {found.folder} from run {run.id}")
    model = weights.fetch(job.repository, run.id, job.folder("weights"), name=given.name, folder=found.folder)
    return model.rename(model.with_name(PurePosixPath(config.model or "model").name))  # its name says which server it needs


def _told(job: Job, published: Published, found: Candidate, environ: Mapping[str, str]) -> None:
    """Outputs, files for later steps, and the summary."""
    folder = job.folder("release")
    file, key = folder / "published.json", _public_key(environ, folder) if published.pushed else None
    file.write_text(published.to_json(), encoding="utf-8")
    outputs = {
        "image": f"{published.image}@{published.digest}" if published.pushed else "",
        "digest": published.digest,
        "tags": "\n".join(published.tags),
        "version": published.version,
        "verdict": published.verdict,
        "identity": "" if key or not published.pushed else _identity(published, environ),
        "public-key": str(key or ""),
        "report": str(file),
        "release-url": "",
    }
    for name, value in outputs.items():
        job.runner.output(name, value)
    job.runner.say(published.to_text())
    title = f"🚀 {published.image}:{published.version}" if published.pushed else "🔍 A dry run: nothing was published"
    told = notes.render(published, found.report, metrics=announcing.metrics(found), verify=_verify(published, environ))
    job.runner.summary(f"### {title}\n\n{commands.fenced(published.to_text())}\n{told}")


def _public_key(environ: Mapping[str, str], folder: Path) -> Path | None:
    """A file with the public part of the key that signs; None where an identity does."""
    from cryptography.hazmat.primitives import serialization

    from metricgate.release import signing

    if not environ.get(signing.KEY):
        return None
    signer = signing.signer(environ)
    if not isinstance(signer, signing.KeySigner):
        return None
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    file = folder / "release.pub"
    file.write_bytes(signer.verifier.key.public_bytes(serialization.Encoding.PEM, form))
    return file


def _identity(published: Published, environ: Mapping[str, str]) -> str:
    """Who signed, as a certificate names a workflow."""
    who = published.signed_by
    return who if "://" in who else f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{who}"


def _verify(published: Published, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The options with which anybody verifies the image."""
    if environ.get("METRICGATE_SIGNING_KEY"):
        return ("--key", "release.pub")
    identity, repository = _identity(published, environ), naming.repository_of(environ)
    # A workflow that others can call too says little by its name alone.
    elsewhere = ("--repository", repository) if repository and not identity.startswith(f"{repository}/") else ()
    return ("--identity", identity, *elsewhere)


def _chain(document: Mapping[str, Any]) -> str:
    """What was found out, a link a line."""
    links = [
        f"  {link['link']:<11} {link['state']:<8} {link['says']}" for image in document["images"] for link in image["links"]
    ]
    return "\n".join([document["headline"], f"  digest      {document['digest']}", *links])
