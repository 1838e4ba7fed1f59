"""What was handed over to an engine, kept beside the job, so that nothing is handed over twice.

A *round* is what one call of ``following.train`` does: the first submission, and one more for each retry. A round that has no
end yet was left by a runner that died; the next call with the same work goes on with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from metricgate.errors import InputError
from metricgate.run import write_text
from metricgate.train.launchers.job import Job

FILE = "submitted.json"
_LOCK = ".lock"
_SCHEMA = "metricgate.submitted/1"


@dataclass(frozen=True)
class Submission:
    """One handing over.

    Attributes:
        number: Counts them for this folder, from 1.
        seeds: Which tasks.
        mark: Ends its key. An engine may remember a job of the same work that ended long ago, whose folder is gone.
        job_id: The engine's id; empty while it is not known whether the engine has it.
        skips: By seed, how many bytes of the log are of earlier ones.
    """

    number: int
    seeds: tuple[int, ...]
    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    job_id: str = ""
    skips: Mapping[int, int] = field(default_factory=dict)

    def of(self, job: Job) -> Job:
        """The job as the engine gets it: with a key and a folder of its own."""
        tasks = tuple(task for task in job.tasks if task.seed in self.seeds)
        return replace(job, key=f"{job.key}-{self.mark}", folder=job.folder / str(self.number), tasks=tasks)


@dataclass(frozen=True)
class Round:
    """The submissions of one call.

    Attributes:
        engine: Whose they are.
        digest: Of what is to be done; two rounds with the same one are the same work.
        submissions: One after another.
        end: ``done``, ``cancelled``, or empty while it goes on.
    """

    engine: str
    digest: str
    submissions: tuple[Submission, ...]
    end: str = ""

    def with_last(self, submission: Submission) -> Round:
        """With its last submission replaced."""
        return replace(self, submissions=(*self.submissions[:-1], submission))

    def with_more(self, submission: Submission) -> Round:
        """With one more submission."""
        return replace(self, submissions=(*self.submissions, submission))


def read(folder: Path) -> Round | None:
    """The last round; None where there was none.

    Raises:
        InputError: The file is not what ``write`` wrote.
    """
    file = folder / FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["schema"] != _SCHEMA:
            raise KeyError(_SCHEMA)  # noqa: TRY301 - one way to be wrong among several
        submissions = tuple(_submission(one) for one in document["submissions"])
        return Round(str(document["engine"]), str(document["digest"]), submissions, str(document["end"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "the file does not say what was handed over",
            where=str(file),
            expected=f"a {_SCHEMA} document",
            fix="cancel what still runs of this job, and delete the file",
        ) from None


def write(folder: Path, this: Round) -> None:
    """Keep a round, whole or not at all."""
    write_text(folder / FILE, json.dumps({"schema": _SCHEMA, **asdict(this)}, indent=2, sort_keys=True) + "\n")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others out who would hand over the same work at this moment."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(job: Job) -> str:
    """Of everything that a job says, its folder and its name aside."""
    content = asdict(replace(job, name="", folder=Path("/")))
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def sizes(job: Job, seeds: Sequence[int]) -> Mapping[int, int]:
    """How long the logs are by now."""
    return {seed: log.stat().st_size if (log := job.log(seed)).is_file() else 0 for seed in seeds}


def _submission(document: Mapping[str, Any]) -> Submission:
    skips = {int(seed): int(size) for seed, size in document["skips"].items()}
    seeds = tuple(map(int, document["seeds"]))
    return Submission(int(document["number"]), seeds, str(document["mark"]), str(document["job_id"]), skips)
