"""Recorded runs in any place for files: keyed by model and commit, added, read back, pruned."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from metricgate import golden
from metricgate import run as run_documents
from metricgate.baseline import judged, layout, ledger, objects, packing, retention
from metricgate.baseline.files import Files
from metricgate.baseline.judged import Judged
from metricgate.baseline.layout import RecordedCommit
from metricgate.baseline.ledger import Entry
from metricgate.baseline.objects import Objects
from metricgate.baseline.packing import PackedRun
from metricgate.config import Config
from metricgate.errors import InputError, StageError, UsageError
from metricgate.run import RUN_FILE, RunRecord

Clock = Callable[[], datetime]

MOST_HISTORY = 24
"""Runs of other commits that are read to learn how noisy training is. Each costs two requests where a request is what counts: a
job's own token has a thousand an hour, which all jobs of a repository share."""

# How often a reading starts again when somebody replaced what was being read.
_READINGS = 5


@dataclass(frozen=True)
class Recorded:
    """What a recording did.

    Attributes:
        commit: The commit.
        runs: The folders of the runs that were recorded.
        changed: Whether anything was written: not where the same runs were recorded already.
    """

    commit: str
    runs: tuple[str, ...]
    changed: bool


@dataclass(frozen=True)
class RunStore:
    """Where runs are recorded.

    Attributes:
        files: The place.
        objects: Where score tables are kept instead, the place then having only pointers; None for the place itself.
    """

    files: Files
    objects: Objects | None = None

    def record(self, name: str, commit: str, folder: Path, *, config: Config, clock: Clock) -> Recorded:
        """Keep the runs of a commit; a run whose seed is recorded already replaces that one, the others stay.

        Args:
            name: The model.
            commit: The full hash of the commit.
            folder: A run folder, a folder of run folders, or one file in any known format.
            config: Names the columns with a role.
            clock: Says when.

        Raises:
            UsageError: There is no run, a run belongs to another commit, two have one seed, or one is too large for the place.
            InputError: A file is malformed.
            StageError: The place can't be reached or written.
        """
        layout.full_commit(commit)
        packed = packing.pack(folder, commit=commit, config=config)
        contents = {run.folder: self._contents(run, name=name, commit=commit) for run in packed}
        now = clock().astimezone(timezone.utc).replace(microsecond=0)

        def edit(present: Mapping[str, str]) -> Mapping[str, bytes | None]:
            return self._recording(present, contents, name=name, commit=commit, now=now)

        message = f"Record {name} at {commit[:12]} ({', '.join(contents)})"
        changed = self.files.change(edit, message=message)
        return Recorded(commit=commit, runs=tuple(contents), changed=changed)

    def listing(self, name: str) -> dict[str, RecordedCommit]:
        """The commits that are recorded now and whole."""
        return {commit: found for commit, found in layout.recorded(self.files.paths(), name).items() if found.complete}

    def commits(self, name: str) -> dict[str, datetime]:
        """When each commit was recorded."""
        return {commit: found.time for commit, found in self.listing(name).items()}

    def runs(self, name: str) -> dict[str, tuple[str, ...]]:
        """The recorded runs of each commit."""
        return {commit: tuple(found.runs) for commit, found in self.listing(name).items()}

    def load(self, name: str, commit: str, into: Path) -> Path:
        """Copy the runs of a commit out, as the last listing saw them.

        Args:
            name: The model.
            commit: The full hash of the commit.
            into: A folder; the runs go into one named after the commit in it.

        Returns:
            That folder, as ``metricgate compare`` takes it.

        Raises:
            UsageError: The commit is not recorded.
            InputError: A score table that is kept elsewhere is gone, or another one.
            StageError: The place can't be reached.
        """
        found, read = self._read(name, commit, lambda _: True)
        return self._write(found, read, name=name, into=into / commit)

    def records(self, name: str, commit: str) -> dict[str, RunRecord]:
        """What the recorded runs of a commit say about themselves, by the run's folder; neither scores nor golden requests.

        Raises:
            UsageError: The commit is not recorded.
            InputError: A record is malformed.
            StageError: The place can't be reached.
        """
        found, read = self._read(name, commit, lambda file: file == RUN_FILE)
        return {
            run: run_documents.parse_record(read[files[RUN_FILE]], where=files[RUN_FILE])
            for run, files in found.runs.items()
            if RUN_FILE in files
        }

    def golden(self, name: str, commit: str, run: str) -> bytes | None:
        """The golden requests of a recorded run; None where it has none.

        Raises:
            UsageError: The commit is not recorded.
            StageError: The place can't be reached.
        """
        found, read = self._read(name, commit, lambda file: file == golden.FILE)
        path = found.runs.get(run, {}).get(golden.FILE)
        return None if path is None else read[path]

    def history(self, name: str, commits: Iterable[str], into: Path, *, most: int = MOST_HISTORY) -> Path | None:
        """Copy the runs of those commits out that are recorded, as the last listing saw them.

        Args:
            name: The model.
            commits: The commits, the most telling ones first.
            into: A folder; the runs of each commit go into one named after it in it.
            most: How many runs are enough. A commit is copied whole or not at all.

        Returns:
            ``into``, as ``metricgate compare --history`` takes it; None where no commit is recorded.
        """
        recorded = {commit: found for commit, found in layout.recorded(self.files.listed(), name).items() if found.complete}
        copied = 0
        for commit in dict.fromkeys(commits):
            if commit in recorded:
                if copied and copied + len(recorded[commit].runs) > most:
                    break
                found, read = self._read(name, commit, lambda file: file != golden.FILE)
                self._write(found, read, name=name, into=into / commit)
                copied += len(recorded[commit].runs)
        return into if copied else None

    def prune(self, name: str, *, keep: int, needed: Collection[str] = ()) -> tuple[str, ...]:
        """Delete what is not worth keeping.

        Args:
            name: The model.
            keep: How many commits stay, the newest ones, beside those that are needed.
            needed: Commits that an open pull request or a tag refers to; those of the ledger are added here.

        Returns:
            The commits that were deleted, oldest first.
        """
        gone: tuple[str, ...] = ()

        def edit(present: Mapping[str, str]) -> Mapping[str, bytes | None]:
            nonlocal gone
            found = layout.recorded(present, name)
            kept = {*needed, *layout.referred(present, name)}
            gone = retention.superfluous({commit: here.time for commit, here in found.items()}, keep=keep, needed=kept)
            reports = layout.reports(present, name)
            alone = {commit: layout.said_at(paths[-1]) for commit, paths in reports.items() if commit not in found}
            unsaid = retention.superfluous(alone, keep=keep, needed=kept)
            # First what says that the commit is recorded: half of one must not count as one.
            unwanted = [path for commit in gone for path in found[commit].paths]
            return dict.fromkeys([*unwanted, *(path for commit in (*gone, *unsaid) for path in reports.get(commit, ()))])

        if not self.files.change(edit, message=f"Prune {name}"):
            return ()
        if self.objects is not None:
            for commit in gone:
                self.objects.remove(layout.commit_folder(name, commit))
        return gone

    def note(self, *said: Entry | Judged) -> bool:
        """Add entries to the ledger, and what verdicts said; a verdict on a test set goes where such are counted.

        Returns:
            Whether any is new.

        Raises:
            UsageError: A test set is no fingerprint.
            StageError: The place can't be reached or written.
        """
        wanted = {one.path: one.to_json() for one in said}
        what = " and ".join(f"a {one.kind}" if isinstance(one, Entry) else "a report" for one in said)
        message = f"Note {what} for {said[0].name} at {said[0].commit[:12]}" if said else ""
        return bool(wanted) and self.files.change(lambda _: wanted, message=message)

    def judged(self, name: str, commit: str) -> Judged | None:
        """The last verdict about a commit; None where there is none.

        Raises:
            InputError: What is kept of it is malformed, or not what was kept.
            StageError: The place can't be reached.
        """
        return judged.newest(self.files, name, commit)

    def verdicts(self, name: str) -> dict[str, int]:
        """How many verdicts each test set has given, by its fingerprint, as the last listing saw it.

        Raises:
            StageError: The place can't be reached.
        """
        return layout.verdicts(self.files.listed(), name)

    def ledger(self, name: str) -> tuple[Entry, ...]:
        """The ledger of a model, oldest entry first.

        Raises:
            InputError: An entry is malformed.
        """
        paths = layout.entries(self.files.paths(), name)
        entries = [ledger.read(self.files.read(path), where=path) for path in paths]
        return tuple(sorted(entries, key=lambda entry: (entry.time, entry.to_json())))

    def _recording(
        self, present: Mapping[str, str], contents: Mapping[str, Mapping[str, bytes]], *, name: str, commit: str, now: datetime
    ) -> Mapping[str, bytes | None]:
        folder = layout.commit_folder(name, commit)
        old = layout.recorded(present, name).get(commit)
        here = layout.runs_of(present, name, commit)
        wanted = {f"{folder}/{run}/{file}": content for run, files in contents.items() for file, content in files.items()}
        surplus = [path for run in contents for path in here.get(run, {}).values() if path not in wanted]
        if (
            old is not None
            and old.complete
            and not surplus
            and all(path in present and self.files.holds(path, content) for path, content in wanted.items())
        ):
            return {}
        runs = sorted({*here, *contents})
        said = {
            "schema": "metricgate.recorded/1",
            "name": name,
            "commit": commit,
            "recorded": now.isoformat().replace("+00:00", "Z"),
            "runs": runs,
        }
        # A commit that is being replaced is not recorded until all of it is there: its marker goes first and comes last.
        markers = old.markers if old else ()
        new = layout.marker(name, commit, time=now, runs=len(runs))
        changes: dict[str, bytes | None] = dict.fromkeys([*markers, *surplus])
        changes |= wanted
        changes.pop(new, None)
        changes[new] = (json.dumps(said, indent=2, sort_keys=True) + "\n").encode()
        return changes

    def _contents(self, run: PackedRun, *, name: str, commit: str) -> Mapping[str, bytes]:
        """The files of a run as they go into the place; its scores go where scores go."""
        if run.scores is None:
            return run.files
        file, content = run.scores
        if self.objects is None:
            if self.files.largest is not None and len(content) > self.files.largest:
                raise UsageError(
                    f"the scores of {run.folder} have {len(content):,} bytes",
                    expected=f"at most {self.files.largest:,} bytes a file in this store",
                    where=file,
                    fix="keep score tables elsewhere; the store then has their digests:\nbaseline: {scores: s3://bucket/path}",
                )
            return {**run.files, file: content}
        folder = layout.commit_folder(name, commit)
        pointer = self.objects.keep(content, folder=folder, name=run.folder, file=file)
        document = pointer.model_dump(mode="json", by_alias=True)
        return {**run.files, layout.POINTER_FILE: (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()}

    def _read(self, name: str, commit: str, wanted: Callable[[str], bool]) -> tuple[RecordedCommit, Mapping[str, bytes]]:
        """A recorded commit and those of its files that are wanted, all of one recording."""
        layout.full_commit(commit)
        for attempt in range(_READINGS):
            paths = self.files.paths() if attempt else self.files.listed()
            found = layout.recorded(paths, name).get(commit)
            if not attempt and (found is None or not found.complete):  # perhaps it is by now
                continue
            if found is None:
                raise UsageError(
                    f"{commit[:12]} is not recorded",
                    expected=f"a recorded commit of {name}",
                    fix=f"metricgate run && metricgate record        # with {commit[:12]} checked out",
                )
            if not found.complete:
                raise InputError(
                    f"only {len(found.runs)} runs of {commit[:12]} are there",
                    where=found.markers[-1],
                    expected="as many as were recorded: one that is gone must not be left out of the mean silently",
                    fix="record the commit again",
                )
            try:
                read = {
                    path: self.files.read(path) for files in found.runs.values() for file, path in files.items() if wanted(file)
                }
            except KeyError:  # replaced or pruned meanwhile
                continue
            return found, read
        raise StageError(
            f"the runs of {commit[:12]} were replaced again and again while they were read", fix="run the command again"
        )

    def _write(self, found: RecordedCommit, read: Mapping[str, bytes], *, name: str, into: Path) -> Path:
        for run, files in found.runs.items():
            target = into / run
            target.mkdir(parents=True, exist_ok=True)
            for file, path in ((file, path) for file, path in files.items() if path in read):
                if file == layout.POINTER_FILE:
                    self._fetch(read[path], where=path, name=name, commit=found.commit, target=target)
                else:
                    (target / file).write_bytes(read[path])
        return into

    def _fetch(self, content: bytes, *, where: str, name: str, commit: str, target: Path) -> None:
        pointer = objects.read_pointer(content, where=where)
        if self.objects is None:
            raise UsageError(
                "the scores of this run are kept elsewhere",
                where=where,
                expected=f"where they are: {pointer.url[:200]}",
                fix=f"baseline: {{scores: {pointer.url[:200].partition('/runs/')[0]}}}",
            )
        self.objects.fetch(pointer, folder=layout.commit_folder(name, commit), name=target.name, into=target)
