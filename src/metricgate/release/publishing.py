"""What ``metricgate publish`` does: the model of a tagged commit becomes an image that carries its evidence.

Everything that can refuse comes before anything is changed. Each step looks for what is there already, so the same command run
again goes on where it stopped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timezone
from pathlib import Path

from metricgate.config import Config
from metricgate.errors import ConfigError, InputError
from metricgate.golden import Exchange
from metricgate.release import building, facts, layers, model_code, naming, pushing, smoke, statements, tagging
from metricgate.release.building import Built
from metricgate.release.candidate import Candidate
from metricgate.release.engine import Engine
from metricgate.release.facts import Facts, Job
from metricgate.release.layers import Layer
from metricgate.release.names import Context, Names
from metricgate.release.naming import Asked
from metricgate.release.oci import Descriptor
from metricgate.release.parity import Tolerance
from metricgate.release.published import Published
from metricgate.release.registry import Registry
from metricgate.release.signing import Signer
from metricgate.release.smoke import SmokeResult
from metricgate.release.tagging import Plan


@dataclass(frozen=True, kw_only=True)
class World:
    """What a release works with.

    Attributes:
        environ: The environment; nothing of it reaches a build.
        registry: Opens the repository of an image.
        engine: Opens the engine that builds and runs images.
        signer: Finds a key or an identity to sign with; an identity lasts some minutes, so it is asked anew.
        say: Is told what goes on.
    """

    environ: Mapping[str, str]
    registry: Callable[[str], Registry]
    engine: Callable[[], Engine]
    signer: Callable[[], Signer]
    say: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is to be released.

    Attributes:
        asked: What it is to be called.
        context: The tag and its commit.
        config: The configuration of that commit.
        root: Its checkout.
        candidate: Its run and its verdict.
        model: The file or folder of the model.
        exchanges: The golden requests of the run.
        job: Who releases.
        training: Who trained and judged, where that is known.
        push: Whether anything is published; otherwise the release is built, tested, and shown.
    """

    asked: Asked
    context: Context
    config: Config
    root: Path
    candidate: Candidate
    model: Path
    exchanges: Sequence[Exchange]
    job: Job
    training: Job | None = None
    push: bool = True

    def names(self, existing: Iterable[str]) -> Names:
        """The names of this release, given the tags that a registry has."""
        return naming.names_of(self.asked, self.context, existing=existing)


def publish(release: Release, world: World) -> Published:
    """Publish a release, or show what it would be.

    Raises:
        UsageError: There is no tag, nobody to sign, or the version is there already with other bytes.
        InputError: The model is not the one that was judged.
        ConfigError: The model holds code, and the configuration does not allow that.
        StageError: A build, a test or a registry failed; the error says what exists now.
    """
    labels = naming.labels_of(release.asked, release.context, version=release.names(()).version, environ=world.environ)
    signer = world.signer() if release.push else None  # without one, nothing needs to be built
    registries = [world.registry(image) for image in release.asked.images]
    names, *_ = [tagging.named(registry, release.names) for registry in registries]
    code = _code(release, say=world.say)
    world.say(f"reading the model {release.model}")
    model, digest = layers.of_model(release.model)
    if digest != release.candidate.run.model_digest:
        raise InputError(
            f"this is another model: its digest is {digest}",
            where=str(release.model),
            expected=f"{release.candidate.run.model_digest}, the one that was judged",
            fix="give the model of the run that the store has, not one that was trained again",
        )
    with tempfile.TemporaryDirectory(prefix="metricgate-release-") as folder, world.engine() as engine:
        known_layers = building.known_layers(
            registries[0], [*(tag.rpartition(":")[2] for tag in names.tags), *reversed(registries[0].tags())]
        )
        built = _built(release, engine, model, labels=labels, known=known_layers, workspace=Path(folder), world=world)
        plans = [tagging.plan(registry, release.names, built.descriptor.digest) for registry in registries]
        tested = _tested(release, built, engine, world)
        if signer is None:
            return _published(release, built, tested, plan=plans[0], code=code)
        known = [
            _facts(
                release,
                built,
                number,
                tested=tested if number == 0 else None,
                code=code,
                model=model,
                plan=plans[0],
                world=world,
            )
            for number in range(len(built.images))
        ]
        pushed = pushing.push(built, known, registries=registries, naming=release.names, signer=world.signer, say=world.say)
        plan = tagging.plan(registries[0], release.names, built.descriptor.digest)
        return replace(
            _published(release, built, tested, plan=plan, code=code),
            pushed=True,
            moved=pushed.moved,
            evidence=pushed.evidence,
            signed_by=signer.who,
            verify=signer.options,
            uploaded=pushed.uploaded,
        )


def _code(release: Release, *, say: Callable[[str], None]) -> tuple[str, ...]:
    """The code in the model, where somebody allowed it."""
    findings = model_code.find(release.model)
    for note in (found for found in findings if found.level == "note"):
        say(f"  {note.file}: {note.what}; {note.why}")
    code = tuple(f"{found.file}: {found.what}" for found in findings if found.level != "note")
    if code and not release.config.publish.allow_code:
        raise ConfigError(
            "\n".join(["the model holds code, which would run wherever it is loaded", *(f"  - {each}" for each in code)]),
            where=str(release.model),
            expected="weights and a graph of known operations",
            fix="save it without (a layer of its own instead of a Lambda layer, arrays instead of pickled objects);\n"
            "or, where your own server needs it, in metricgate.yaml; the evidence then says so:\n"
            "publish: {allow_code: true}",
        )
    return code


def _built(
    release: Release,
    engine: Engine,
    model: Layer,
    *,
    labels: Mapping[str, str],
    known: Mapping[str, Descriptor],
    workspace: Path,
    world: World,
) -> Built:
    found = release.candidate
    return building.build(
        release.config,
        engine,
        root=release.root,
        model=model,
        model_path=release.model,
        labels={
            **labels,
            **facts.labels(
                model=str(found.run.model_digest),
                verdict=found.report.verdict,
                report=found.report_digest,
                policy=found.policy,
                test_set=found.test_set,
                baseline=found.baseline,
            ),
        },
        created=release.context.time,
        known=known,
        environ=world.environ,
        workspace=workspace,
        say=world.say,
    )


def _tested(release: Release, built: Built, engine: Engine, world: World) -> SmokeResult:
    """The image, loaded into the engine under the digest of its configuration, asked and stopped."""
    wanted = release.config.publish
    image_id = building.loaded(built, engine, say=world.say)
    world.say(f"asking it {len(release.exchanges)} golden requests")
    try:
        return smoke.test(
            engine,
            image_id,
            release.exchanges,
            name=building.served_name(release.config.name),
            tolerance=Tolerance(rtol=wanted.tolerance.rtol, atol=wanted.tolerance.atol),
            ready_timeout=wanted.ready_timeout,
        )
    finally:
        engine.remove(image_id)  # a runner would have one more of them with each release


def _facts(
    release: Release,
    built: Built,
    number: int,
    *,
    tested: SmokeResult | None,
    code: tuple[str, ...],
    model: Layer,
    plan: Plan,
    world: World,
) -> Facts:
    """What is stated about one of the images; only the one that this machine can run was tested."""
    found, base = release.candidate, built.base
    return Facts(
        name=release.config.name,
        image=release.asked.images[0],
        image_digest=built.images[number].manifest_descriptor.digest,
        platform=built.platforms[number],
        repository=naming.repository_of(world.environ),
        commit=release.context.sha,
        ref=release.context.ref,
        version=plan.version,
        tags=tuple(move.tag for move in plan.moves),
        created=release.context.time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        job=release.job,
        training=release.training,
        run=found.run,
        model_digest=str(found.run.model_digest),
        model_files={name: f"sha256:{value}" for name, value in model.files.items()},
        report=found.report,
        report_digest=found.report_digest,
        policy=found.policy,
        test_set=found.test_set,
        baseline=found.baseline,
        waiver=found.waiver,
        stale=found.stale,
        smoke=tested.to_document() if tested else None,
        base_image=(base.name, base.digest) if base and base.digest else None,
        dockerfile=built.recipe.digests.get("Dockerfile"),
        lock=built.recipe.digests.get("requirements"),
        code=code,
        packages=built.packages[number],
    )


def _published(release: Release, built: Built, tested: SmokeResult | None, *, plan: Plan, code: tuple[str, ...]) -> Published:
    found = release.candidate
    image = release.asked.images[0]
    return Published(
        image=image,
        digest=built.descriptor.digest,
        version=plan.version,
        tags=tuple(f"{image}:{move.tag}" for move in plan.moves),
        moved=tuple(move for move in plan.moves if move.changes),
        stays=plan.keepers,
        pushed=False,
        commit=release.context.sha,
        seed=found.run.seed,
        model=str(found.run.model_digest),
        verdict=statements.result(found.report),
        report=found.report_digest,
        waiver=found.waiver.by if found.waiver else None,
        stale=found.stale,
        code=code,
        smoke=tested.to_document() if tested else {},
        platforms=built.platforms,
    )
