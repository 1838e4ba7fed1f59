"""``metricgate publish`` and ``verify``, on a laptop and in a job: which commit, which store, which model, who signs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metricgate import golden, recording
from metricgate.baseline import local_history
from metricgate.baseline.store import RunStore
from metricgate.config import Config
from metricgate.errors import UsageError
from metricgate.golden import Exchange
from metricgate.release import candidate, naming, publishing, signing
from metricgate.release.candidate import Candidate
from metricgate.release.engine import Engine
from metricgate.release.facts import Job
from metricgate.release.naming import Asked
from metricgate.release.patience import Patience
from metricgate.release.published import Published
from metricgate.release.publishing import Release, World
from metricgate.release.registry import Registry

LOCAL_BUILDER = "https://github.com/metricgate/metricgate/types/builder/local/v1"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for; what is empty comes from the configuration or from the environment of a job.

    Attributes:
        config: The configuration file.
        ref: ``refs/tags/v1.2.3``.
        sha: The commit.
        images: Names of images.
        rules: Which tags they get.
        flavor: What holds for all tags.
        labels: More labels.
        default_branch: The repository's.
        model: The model's file or folder; by default the one that was kept.
        golden: The golden requests; by default the recorded ones.
        store: Where runs are recorded.
        key: A private key.
        allow_stale: Whether a stale verdict counts.
        push: Whether anything is published.
    """

    config: Path
    ref: str | None = None
    sha: str | None = None
    images: Sequence[str] = ()
    rules: Sequence[str] = ()
    flavor: Sequence[str] = ()
    labels: Sequence[str] = ()
    default_branch: str = ""
    model: Path | None = None
    golden: Path | None = None
    store: str | None = None
    key: Path | None = None
    allow_stale: bool = False
    push: bool = True


def publish(
    wanted: Wanted, *, environ: Mapping[str, str], say: Callable[[str], None], patience: Patience | None = None
) -> tuple[Published, Candidate]:
    """Publish the model of a tagged commit.

    Args:
        wanted: What was asked for.
        environ: The environment: of a GitHub job, or with ``METRICGATE_SIGNING_KEY``, ``METRICGATE_REGISTRY_USERNAME`` ….
        say: Is told what goes on.
        patience: How long to go on when a registry does not answer as it should.

    Returns:
        What was published, and the verdict that it was published with.

    Raises:
        MetricgateError: As ``candidate.find`` and ``publishing.publish``.
    """
    config, root = recording.configured(wanted.config, store=wanted.store), wanted.config.parent.absolute()
    commit = _checked_out(root, wanted.sha or environ.get("GITHUB_SHA") or "HEAD")
    asked = _asked(
        wanted, config, environ=environ, ref=wanted.ref or environ.get("GITHUB_REF") or _tag_of(root, commit), sha=commit
    )
    committed = next(iter(local_history.before(root, commit))).time
    if committed is None:
        raise UsageError("git does not say when the commit was made", where=commit[:12], expected="a whole clone")
    context = naming.context_of(asked, environ=environ, time=committed)
    if context.model and context.model != config.name:
        raise UsageError(
            f"the tag {context.tag} is about the model {context.model}",
            where=f"{wanted.config}: name: {config.name}",
            expected=f"a tag such as {config.name}@v1.2.3, or the configuration of {context.model}",
            fix="--config FILE, the configuration of that model; in a workflow, `on: {push: {tags: [...]}}` chooses",
        )
    store = recording.store_of(config, root, environ)
    branch = wanted.default_branch or config.publish.branch or ""
    found = candidate.find(
        store, config, commit, root=root, branch=branch, path=wanted.config.name, allow_stale=wanted.allow_stale
    )
    say(f"releasing {commit[:7]}, seed {found.run.seed}: {found.report.verdict}")
    exchanges = _exchanges(wanted, store, config, found)
    world = World(
        environ=environ,
        registry=lambda image: Registry.connect(image, environ=environ, patience=patience),
        engine=lambda: Engine.connect(environ),
        signer=lambda: signing.signer(environ, key=wanted.key),
        say=say,
    )
    with tempfile.TemporaryDirectory(prefix="metricgate-model-") as folder:
        release = Release(
            asked=asked,
            context=context,
            config=config,
            root=root,
            candidate=found,
            model=wanted.model or candidate.fetch_model(config, found, Path(folder), root=root),
            exchanges=exchanges,
            job=_job(environ),
            training=_training(found),
            push=wanted.push,
        )
        return publishing.publish(release, world), found


def _asked(wanted: Wanted, config: Config, *, environ: Mapping[str, str], ref: str, sha: str) -> Asked:
    publish = config.publish
    images = list(wanted.images) or ([publish.image] if publish.image else [])
    if not images and environ.get("GITHUB_REPOSITORY"):
        images = [f"ghcr.io/{environ['GITHUB_REPOSITORY'].lower()}"]
    if not images:
        raise UsageError(
            "the image has no name",
            expected="--image, or `publish: {image: …}` in metricgate.yaml",
            fix="publish: {image: ghcr.io/owner/model}",
        )
    return Asked(
        ref=ref,
        sha=sha,
        images=[image.lower() for image in images],
        rules=wanted.rules or publish.rules or (),
        flavor=wanted.flavor or publish.flavor,
        labels=[*(f"{key}={value}" for key, value in publish.labels.items()), *wanted.labels],
        default_branch=wanted.default_branch,
    )


def _checked_out(root: Path, sha: str) -> str:
    """The commit, which has to be the one that is checked out: its Dockerfile and its configuration count."""
    commit = local_history.commit(root, sha)
    head = local_history.commit(root, "HEAD")
    if commit != head:
        raise UsageError(
            f"{commit[:12]} is to be released, and {head[:12]} is checked out",
            where=str(root),
            expected="a checkout of the released commit, whose configuration and Dockerfile count",
            fix=f"git checkout {commit[:12]}",
        )
    return commit


def _tag_of(root: Path, commit: str) -> str:
    """The one tag of a commit."""
    tags = local_history.tags(root, commit)
    if len(tags) != 1:
        raise UsageError(
            f"{commit[:12]} has {len(tags)} tags" + (f": {', '.join(tags[:5])}" if tags else ""),
            expected="one tag, or --ref",
            fix=f"--ref refs/tags/{tags[0] if tags else 'v1.2.3'}" if tags else "git tag v1.2.3",
        )
    return f"refs/tags/{tags[0]}"


def _exchanges(wanted: Wanted, store: RunStore, config: Config, found: Candidate) -> tuple[Exchange, ...]:
    if wanted.golden is not None:
        return golden.read(wanted.golden)
    content = store.golden(config.name, found.commit, found.folder)
    if content is None:
        raise golden.missing(f"{found.folder} of {found.commit[:12]}")
    with tempfile.TemporaryDirectory(prefix="metricgate-golden-") as folder:
        file = Path(folder) / golden.FILE
        file.write_bytes(content)
        return golden.read(file)


def _job(environ: Mapping[str, str]) -> Job:
    server, workflow = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_WORKFLOW_REF", "")
    if not server or not workflow:
        return Job(builder=LOCAL_BUILDER)
    run, attempt = environ.get("GITHUB_RUN_ID", ""), environ.get("GITHUB_RUN_ATTEMPT", "1")
    url = f"{naming.repository_of(environ)}/actions/runs/{run}/attempts/{attempt}" if run else ""
    return Job(builder=f"{server}/{workflow}", url=url)


def _training(found: Candidate) -> Job:
    workflow = found.judged.workflow
    started = found.run.times.started or ""
    if workflow is None:
        return Job(builder=LOCAL_BUILDER, started=started)
    return Job(builder=workflow.url.partition("/actions/runs/")[0] or LOCAL_BUILDER, url=workflow.url, started=started)
