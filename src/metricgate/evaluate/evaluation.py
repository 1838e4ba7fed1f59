"""Evaluates runs that were trained: the model put back, the user's command, what it wrote collected into ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from metricgate import custom_metrics, golden
from metricgate import run as runs
from metricgate.config import Config, Evaluate
from metricgate.custom_metrics import Functions
from metricgate.errors import UsageError
from metricgate.evaluate import collection, fingerprint
from metricgate.formats import metrics_json, scores
from metricgate.run import RunRecord
from metricgate.train import command, run_folder
from metricgate.train.command import Command, Usage
from metricgate.train.console import Console
from metricgate.train.model import ModelPath
from metricgate.train.run_folder import RunFolder


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the runs of a folder.

    Without an ``evaluate`` section the training wrote metrics and scores, and they are only collected. With one, only what
    the evaluation writes counts: ``metrics.json``, ``scores.*`` and ``golden.jsonl`` are removed before it starts, so that
    nothing stale can pass for its result.

    Attributes:
        config: What to run, and what it has to write.
        root: The repository root, absolute, where the command runs.
        environ: The environment that the command inherits.
        console: Where output and progress go.
    """

    config: Config
    root: Path
    environ: Mapping[str, str]
    console: Console

    def evaluate(self, folder: RunFolder) -> RunRecord:
        """Evaluate one run; its ``run.json`` is of stage ``evaluated`` afterwards.

        Raises:
            UsageError: The folder holds no run that was trained.
            CommandError: The command failed.
            StageError: The run's model is gone or changed.
            InputError: What the commands wrote is not what the configuration says.
        """
        there = runs.read_record(folder.path)
        if there is not None and self._is_reused_whole(there):
            self.console.say(f"seed {folder.seed}: not evaluated again: the scores are those of the recorded run")
            return there
        trained = self._trained(folder)
        digest = self.fingerprint
        usage = self._run(folder, self.config.evaluate, trained) if self.config.evaluate else None
        times = trained.times.model_copy(update={"evaluate_s": round(usage.wall_s, 3) if usage else None})
        fingerprints = trained.fingerprints.model_copy(update={"evaluation": digest})
        record = self.collect(folder.path, trained.model_copy(update={"times": times, "fingerprints": fingerprints}))
        runs.write_record(folder.path, record)
        return record

    def collect(self, path: Path, record: RunRecord) -> RunRecord:
        """A run's record with what the files in its folder say, checked against the configuration; nothing is run or written.

        Raises:
            InputError: They are not what the configuration says.
        """
        collected = collection.collect(path, self.config, functions=self._functions)
        return record.model_copy(
            update={
                "stage": "evaluated",
                "metrics": dict(collected.metrics),
                "golden_digest": collected.golden,
                "fingerprints": record.fingerprints.model_copy(
                    update={
                        "test_set": collected.test_set,
                        "reference_columns": collected.reference_columns if collected.test_set else None,
                    }
                ),
            }
        )

    def _functions(self) -> Functions:
        # On a machine of GitHub's not from the checkout: this process may hold what the commands of the checkout must not see.
        return custom_metrics.resolve(self.config, custom_metrics.on_this_machine(self.root, self.environ))

    @cached_property
    def fingerprint(self) -> str | None:
        """The fingerprint of the evaluation that is checked out; None without an ``evaluate`` section."""
        return fingerprint.of_evaluation(self.config, root=self.root, environ=self.environ)

    def _is_reused_whole(self, record: RunRecord) -> bool:
        # What was trained and evaluated here is evaluated again when asked to; a run that was taken has no model to do it with.
        return (
            record.reused_from is not None
            and record.stage == "evaluated"
            and record.fingerprints.evaluation == self.fingerprint
        )

    def _trained(self, folder: RunFolder) -> RunRecord:
        record = runs.read_record(folder.path)
        if record is None:
            raise UsageError(
                "the folder holds no run that was trained",
                where=str(folder.path),
                expected=f"a {runs.RUN_FILE} that `metricgate train` wrote",
                fix="metricgate run        # trains and evaluates",
            )
        return record.model_copy(update={"stage": "trained", "metrics": {}, "golden_digest": None})

    def _run(self, folder: RunFolder, evaluate: Evaluate, trained: RunRecord) -> Usage:
        model = ModelPath.of(self.config.model, root=self.root) if self.config.model else None
        if model and trained.model_digest:
            model.put_back(folder.path, expected=trained.model_digest)
        # From here until the end the run is not evaluated, whatever an earlier evaluation found.
        runs.write_record(folder.path, trained)
        written = (metrics_json.FILE, golden.FILE, run_folder.EVALUATE_LOG)
        for stale in (*(folder.path / name for name in written), *scores.all_in(folder.path)):
            stale.unlink(missing_ok=True)
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        work = Command(
            line=evaluate.run,
            label=f"evaluation of seed {folder.seed}",
            cwd=self.root,
            environ=folder.variables(self.environ, model_path=model.path if model else None, checkpoints=folder.checkpoints),
            log=folder.path / run_folder.EVALUATE_LOG,
            timeout_s=evaluate.timeout,
            progress=folder.progress,
        )
        try:
            return command.run(work, console=self.console)
        finally:
            folder.discard_checkpoints()
            folder.progress.unlink(missing_ok=True)


def evaluate(
    config: Config,
    *,
    root: Path,
    run_dir: Path,
    environ: Mapping[str, str],
    console: Console,
    seeds: Sequence[int] | None = None,
) -> tuple[Path, ...]:
    """Evaluate every run in a folder, or those of some seeds; the arguments are those of ``Evaluator``.

    Returns:
        The run folders, by seed.

    Raises:
        UsageError: There is no run, or not of every seed that was asked for.
        MetricgateError: As ``Evaluator.evaluate``; the runs before the one that failed are done.
    """
    there = run_folder.existing(run_dir)
    wanted = {folder.seed for folder in there} if seeds is None else set(seeds)
    missing = sorted(wanted - {folder.seed for folder in there})
    if missing or not there:
        raise UsageError(
            f"there is no run of seed {missing[0]}" if missing else "there is no run to evaluate",
            where=str(run_dir),
            expected="a folder seed-<seed> for every run that was trained",
            fix="metricgate train       # or say where the runs are: --run-dir FOLDER",
        )
    evaluator = Evaluator(config=config, root=root.absolute(), environ=environ, console=console)
    chosen = [folder for folder in there if folder.seed in wanted]
    for folder in chosen:
        evaluator.evaluate(folder)
    return tuple(folder.path for folder in chosen)
