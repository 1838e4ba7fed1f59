"""Seeds over runners: which shard trains which seeds, and their runs brought together again. A shard that is missing is said.

A mean over the seeds that happened to finish is no result: those that a training is hard for are the ones that fail. So either
all seeds of the plan are there, once each and of one kind, or there are none.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metricgate import run as runs
from metricgate.errors import InputError, StageError, UsageError
from metricgate.github import jobs
from metricgate.run import RunRecord
from metricgate.train import digest
from metricgate.train.model import KEPT_AS

MOST = 256
"""Jobs of one matrix, by GitHub's limit."""

_MAX_DEPTH = 4


@dataclass(frozen=True)
class Shard:
    """What one job trains.

    Attributes:
        number: From 0.
        seeds: Its seeds.
    """

    number: int
    seeds: tuple[int, ...]

    @property
    def shown(self) -> str:
        """``shard 1 (seeds 2, 3)``."""
        return f"shard {self.number} ({_named(self.seeds)})"


@dataclass(frozen=True)
class Found:
    """A run that a shard left.

    Attributes:
        folder: Where.
        record: Its ``run.json``.
    """

    folder: Path
    record: RunRecord


def plan(seeds: Sequence[int], count: int | None = None) -> tuple[Shard, ...]:
    """Deal seeds out to shards, each as many as the others or one more.

    Args:
        seeds: All seeds.
        count: How many shards there may be; by default, one a seed.

    Raises:
        UsageError: There would be more than a matrix may have.

    >>> [shard.seeds for shard in plan([0, 1, 2], 2)]
    [(0, 1), (2,)]
    """
    number = min(len(seeds), count or len(seeds))
    if number > MOST:
        raise UsageError(
            f"{number} shards", where="with:", expected=f"at most {MOST} jobs of one matrix", fix=f"with: {{shards: {MOST}}}"
        )
    each, more = divmod(len(seeds), number)
    ends = [0]
    for shard in range(number):
        ends.append(ends[-1] + each + (shard < more))
    return tuple(Shard(shard, tuple(seeds[ends[shard] : ends[shard + 1]])) for shard in range(number))


def matrix(shards: Sequence[Shard]) -> str:
    """The plan as the ``matrix`` of a job's strategy takes it, through ``fromJSON``."""
    entries = [
        {
            "shard": str(shard.number),
            "seeds": ",".join(map(str, shard.seeds)),
            "title": f" ({shard.number + 1} of {len(shards)}: {_named(shard.seeds)})",
        }
        for shard in shards
    ]
    return json.dumps({"include": entries}, separators=(",", ":"))


def read_matrix(text: str) -> tuple[Shard, ...]:
    """The plan again, from that text.

    Raises:
        ValueError: It is something else.
    """
    message = "should be the output `matrix` of actions/plan"
    try:
        entries = json.loads(text)["include"]
        shards = tuple(Shard(int(entry["shard"]), tuple(int(seed) for seed in entry["seeds"].split(","))) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(message) from None
    seeds = [seed for shard in shards for seed in shard.seeds]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(message)
    return shards


def merge(folder: Path, shards: Sequence[Shard], *, into: Path, name: str, commit: str, warn: Callable[[str], None]) -> None:
    """Bring the runs of all shards together.

    Args:
        folder: Holds what each shard left, in folders of its own.
        shards: The plan.
        into: A folder that gets one run folder a seed; it appears whole or not at all.
        name: The model's name.
        commit: The commit that is checked out.
        warn: Says what may make seeds differ that should not.

    Raises:
        StageError: A seed is missing, there twice, or was not planned; or the runs are not all of one kind.
        InputError: What a shard left is no run.
        UsageError: There is something at ``into``.
    """
    from metricgate.train.run_folder import RunFolder

    found = list(_runs(folder)) if folder.is_dir() else []
    _check_kind(found, name=name, commit=commit)
    by_seed = _by_seed(found, shards)
    missing = [shard for shard in shards if not set(shard.seeds) <= set(by_seed)]
    if missing:
        raise _missing(missing, by_seed.keys())
    _check_alike(list(by_seed.values()))
    if len({run.record.fingerprints.environment for run in by_seed.values()}) > 1:
        warn("the shards were trained with different packages: part of what looks like training noise may come from that")
    if into.exists():
        raise UsageError("the folder is there already", where=str(into), expected="a new one, for the runs of all shards")
    aside = into.with_name(f".{into.name}.merging")
    shutil.rmtree(aside, ignore_errors=True)
    for seed, run in sorted(by_seed.items()):
        _copy(run.folder, RunFolder.of(aside, seed=seed).path)
    aside.rename(into)


def require(results: Mapping[str, str], folder: Path, shards: Sequence[Shard]) -> None:
    """Check that the jobs of the shards went well; where not, whose runs are missing is said too.

    Raises:
        StageError: One of them did not.
        InputError: What a shard left is no run.
    """
    wrong = [f"the job `{job}` {jobs.ended(result)}" for job, result in results.items() if result != "success"]
    if not wrong:
        return
    there = {run.record.seed for run in _runs(folder)} if folder.is_dir() else set()
    missing = [shard for shard in shards if not set(shard.seeds) <= there]
    if missing:
        error = _missing(missing, there)
        raise StageError("; ".join([error.found, *wrong]), expected=error.expected, where=error.where, fix=error.fix)
    raise StageError(
        f"{'; '.join(wrong)}, though all seeds left runs",
        expected="every shard to succeed",
        fix="read the log of the job that failed, and run the failed jobs again",
    )


_SEED_FOLDER = re.compile(r"seed-(\d{1,9})")


def _runs(folder: Path, *, depth: int = 0) -> Iterator[Found]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir() or path.name.startswith("."):
            continue
        match = _SEED_FOLDER.fullmatch(path.name)
        if match is None:
            if depth < _MAX_DEPTH:
                yield from _runs(path, depth=depth + 1)
            continue
        record = runs.read_record(path)
        if record is None or record.stage != "evaluated" or record.seed != int(match[1]):
            raise InputError(
                "this is no evaluated run of its seed" if record else "there is no run.json",
                where=str(path),
                expected="what actions/train and actions/evaluate left",
                fix="upload the output `run-dir` of actions/evaluate, and nothing else, from each shard",
            )
        yield Found(path, record)


def _check_kind(found: Sequence[Found], *, name: str, commit: str) -> None:
    for run in found:
        if run.record.commit != commit:
            raise StageError(
                f"seed {run.record.seed} is a run of commit {str(run.record.commit)[:12]}, and this is {commit[:12]}",
                where=str(run.folder),
                expected="shards of one commit",
                fix="let every shard check out the same commit, and run all of them again",
            )
        if run.record.name != name:
            raise StageError(
                f"seed {run.record.seed} is a run of `{run.record.name[:100]}`, and this is `{name}`",
                where=str(run.folder),
                expected="shards of one configuration",
                fix="give the shards of each model an artifact name of their own",
            )


def _by_seed(found: Sequence[Found], shards: Sequence[Shard]) -> dict[int, Found]:
    planned = {seed for shard in shards for seed in shard.seeds}
    by_seed: dict[int, Found] = {}
    for run in found:
        seed = int(run.record.seed or 0)
        if seed not in planned:
            raise StageError(
                f"there is a run of seed {seed}, which no shard was to train",
                where=str(run.folder),
                expected=_named(sorted(planned)),
                fix="hand each shard its own seeds: `seeds: ${{ matrix.seeds }}`",
            )
        if seed in by_seed and digest.of_path(run.folder) != digest.of_path(by_seed[seed].folder):
            raise StageError(
                f"seed {seed} is there twice, and the two differ",
                where=f"{by_seed[seed].folder} and {run.folder}",
                expected="one training a seed: which of two counts is nobody's to choose",
                fix="run all shards again",
            )
        by_seed.setdefault(seed, run)
    return by_seed


def _missing(missing: Sequence[Shard], there: Collection[int | None]) -> StageError:
    seeds = sorted(seed for shard in missing for seed in shard.seeds if seed not in there)
    lost = " and ".join(shard.shown for shard in missing)
    return StageError(
        f"{_named(seeds)} {'is' if len(seeds) == 1 else 'are'} missing: {lost} left {'no' if not there else 'not all'} runs",
        expected="the runs of all seeds: a mean over those that happened to finish would be none",
        fix="read the log of the training job of that shard, and run the failed jobs again",
    )


def _check_alike(found: Sequence[Found]) -> None:
    """Check what has to be the same before runs can be averaged."""
    for field, what, fix in (
        ("test_set", "the test set", "let every shard evaluate on the same examples, with the same ids"),
        ("reference_columns", "the slices of the test set", "run all shards again, from one configuration"),
        ("evaluation", "the evaluation", "run all shards again, from one commit"),
        ("data", "the training data", "let every shard train on the same data: name its version in `train.fetch`"),
        ("training", "the training", "let every shard have the same inputs and packages"),
    ):
        values: dict[object, int] = {}
        for run in found:
            values.setdefault(getattr(run.record.fingerprints, field), int(run.record.seed or 0))
        if len(values) > 1:
            one, other = sorted(values.values())[:2]
            raise StageError(
                f"{what} differs between the shards: seed {one} and seed {other} have different fingerprints",
                expected=f"`{field}` to be the same in the run.json of every seed",
                fix=fix,
            )


def _copy(source: Path, target: Path) -> None:
    for name, file in digest.files_in(source).items():
        if name.split("/")[0] == KEPT_AS:  # weights have an artifact of their own
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / name)


def _named(seeds: Sequence[int]) -> str:
    return f"seed{'s'[: len(seeds) != 1]} {', '.join(map(str, seeds))}"
