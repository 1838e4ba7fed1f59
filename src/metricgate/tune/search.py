"""The search: threads that each take a trial, run it and take the next one, until all are there."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from metricgate.errors import StageError
from metricgate.report import numbers
from metricgate.train import signals
from metricgate.train.console import Console, duration
from metricgate.train.gpu.claims import Claim
from metricgate.tune import spaces, studies
from metricgate.tune.board import Board
from metricgate.tune.storage import Place
from metricgate.tune.trial import Bench, FailedError, InterruptedTrialError, PrunedError
from metricgate.tune_config import Tune

# A command that fails so often, and never gets to a value, is broken.
FAILED_AT_ONCE = 5

_TICK_S = 0.2
_WAIT_S = 0.5


@dataclass(eq=False)
class Search:
    """One call's part in a study.

    Attributes:
        place: Where trials are kept.
        name: The study.
        tune: What is searched.
        bench: Runs trials.
        budget: How many trials there are in all.
        claims: What each thread has: as many as there are.
        board: Told of everything.
        commit: What is checked out.
        clock: The time, zone aware.
        sweep_s: Seconds between two looks for trials whose machine is gone.
    """

    place: Place
    name: str
    tune: Tune
    bench: Bench
    budget: int
    claims: tuple[Claim, ...]
    board: Board
    commit: str | None
    clock: Callable[[], datetime]
    sweep_s: float = 2.0
    _ends: float = field(default=float("inf"), init=False)
    _halt: str = field(default="", init=False)
    _failed: int = field(default=0, init=False)
    _swept: float = field(default=-float("inf"), init=False)
    _errors: list[BaseException] = field(default_factory=list, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def halted(self) -> str:
        """Why trials are to be ended now; empty as long as they may go on."""
        asked = signals.first()
        return self._halt or (f"metricgate was stopped by {asked.name}" if asked else "")

    def run(self) -> None:
        """Search until all trials are there, or the time is over; trials that others run are waited for.

        Raises:
            StageError: It was stopped, or no trial works. What was found stays in the storage.
        """
        self._ends = time.monotonic() + (self.tune.timeout or float("inf"))
        study = studies.load(self.place, self.name, self.tune)
        threads = [threading.Thread(target=self._guarded, args=(claim,), daemon=True) for claim in self.claims]
        with signals.passed_on():
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                self._tick(study, threads)
            halted = self.halted
        self.board.end()
        if self._errors:
            self._raise(self._errors[0])
        if halted:
            raise StageError(
                f"the search ended early: {halted}",
                where=self.place.shown,
                fix="`metricgate tune` goes on with the same study; trials that were running are done again",
            )

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise what happened in a thread; a full disk is no bug of ours."""
        if not isinstance(error, OSError):
            raise error
        raise StageError(
            f"a file could not be written: {error.strerror}",
            where=str(error.filename or self.place.shown),
            fix="free the disk; `metricgate tune` goes on where it stopped",
        ) from error

    def _tick(self, study: optuna.Study, threads: list[threading.Thread]) -> None:
        """A moment of the main thread; whatever happens in it, no trial outlives the search."""
        try:
            if time.monotonic() - self._swept >= self.sweep_s:
                self._swept = time.monotonic()
                self._sweep(study)
            for thread in threads:
                thread.join(_TICK_S / len(threads))
            self.board.count(lambda: self._count(study))
        except KeyboardInterrupt:  # no trial was running at this moment, which would have got it
            self._halt = "metricgate was stopped by SIGINT"
        except Exception as error:  # noqa: BLE001 - raised again once the threads have ended
            self._errors.append(error)
            self._halt = "the storage failed"
            for thread in threads:
                thread.join()

    def _guarded(self, claim: Claim) -> None:
        try:
            with open(os.devnull, "wb") as output, open(os.devnull, "w", encoding="utf-8") as progress:  # noqa: PTH123
                self._work(claim, Console(output=output, progress=progress))
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            with self._lock:
                self._errors.append(error)
            self._halt = self._halt or "another trial's thread failed"

    def _work(self, claim: Claim, console: Console) -> None:
        study = studies.load(self.place, self.name, self.tune)
        while not self.halted:
            trials = study.get_trials(deepcopy=False)
            late = time.monotonic() >= self._ends
            if not late and studies.startable(trials, self.tune, budget=self.budget):
                self._one(study, claim, console)
            elif late or all(trial.state != TrialState.RUNNING for trial in trials):
                return
            else:  # one of the others may be gone before its trial ends
                time.sleep(_WAIT_S)

    def _one(self, study: optuna.Study, claim: Claim, console: Console) -> None:
        """Run the next trial."""
        began: list[optuna.Trial] = []

        def objective(trial: optuna.Trial) -> float:
            began.append(trial)
            return self._value(study, trial, claim, console)

        started = time.monotonic()
        try:
            study.optimize(objective, n_trials=1, catch=(FailedError, InterruptedTrialError, UpdateFinishedTrialError))
        except (ValueError, UpdateFinishedTrialError):
            if not began or not _ended(study, began[0].number).state.is_finished():
                raise
            self.board.say(f"trial {began[0].number} took so long to say a word that it counts as lost, and is done again")
            return
        ended = _ended(study, began[0].number)
        if ended.user_attrs.get(studies.WHY) == studies.INTERRUPTED:
            studies.again(study, ended, retries=self.tune.retries, blame=False)
        self._tell(study, ended, time.monotonic() - started)

    def _value(self, study: optuna.Study, trial: optuna.Trial, claim: Claim, console: Console) -> float:
        if studies.is_surplus(trial.number, study.get_trials(deepcopy=False), self.tune, budget=self.budget):
            trial.set_user_attr(studies.WHY, studies.SURPLUS)
            raise FailedError(studies.SURPLUS)
        trial.set_user_attr(studies.WORKER, self.place.worker)
        if self.commit:
            trial.set_user_attr(studies.COMMIT, self.commit)
        values = spaces.suggest(trial, self.tune.space)

        def report(step: int, value: float) -> bool:
            trial.report(value, step)
            return trial.should_prune()

        try:
            return self.bench.run(
                trial.number, values, report=report, stopped=lambda: self.halted, console=console, environ=claim.environ()
            )
        except PrunedError as error:
            trial.set_user_attr(studies.WHY, str(error))
            raise optuna.TrialPruned from None
        except InterruptedTrialError:
            trial.set_user_attr(studies.WHY, studies.INTERRUPTED)
            raise
        except FailedError as error:
            trial.set_user_attr(studies.WHY, str(error)[:500])
            raise

    def _sweep(self, study: optuna.Study) -> None:
        found = studies.sweep(study, self.place, retries=self.tune.retries, now=self.clock())
        if found:
            self.board.say(f"{found} trials of a machine that is gone are done again" if found > 1 else _GONE)

    def _tell(self, study: optuna.Study, ended: FrozenTrial, took_s: float) -> None:
        why = ended.user_attrs.get(studies.WHY)
        if why in (studies.SURPLUS, studies.INTERRUPTED):
            return
        took = duration(took_s)
        if ended.state == TrialState.COMPLETE:
            best = study.best_trial
            value = numbers.plain(ended.value)
            other = "the best so far" if best.number == ended.number else f"best {numbers.plain(best.value)}"
            self.board.say(f"trial {ended.number}: {self.tune.metric} {value} after {took}; {other}")
        elif ended.state == TrialState.PRUNED:
            self.board.say(f"trial {ended.number}: {why} after {took}")
        else:
            self.board.say(f"trial {ended.number} failed after {took}: it {why}")
            self._failed += 1
            if self._failed >= FAILED_AT_ONCE and not _any_value(study):
                raise StageError(
                    f"{self._failed} trials failed, and none got to a value; the last one {why}",
                    where=str(self.bench.folder / f"trial-{ended.number}"),
                    fix="look at train.log in that folder, mend the command, and run `metricgate tune` again",
                )

    def _count(self, study: optuna.Study) -> str:
        trials = study.get_trials(deepcopy=False)
        return f"{counted(trials, self.tune)} of {self.budget} trials, {_running(trials)} running"


_GONE = "a trial of a machine that is gone is done again"


def counted(trials: list[FrozenTrial], tune: Tune) -> int:
    """How many of the trials that were asked for have ended."""
    return sum(trial.state.is_finished() and studies.counts(trial, tune) for trial in trials)


def foreign(environ: Mapping[str, str], tune: Tune) -> dict[str, str]:
    """What trials inherit: neither the inputs of actions nor the address of the database."""
    from metricgate.train import command

    return {name: value for name, value in command.inherited(environ).items() if name != tune.storage_env}


def _running(trials: list[FrozenTrial]) -> int:
    return sum(trial.state == TrialState.RUNNING for trial in trials)


def _any_value(study: optuna.Study) -> bool:
    with contextlib.suppress(ValueError):
        return study.best_trial is not None
    return bool(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))


def _ended(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]
