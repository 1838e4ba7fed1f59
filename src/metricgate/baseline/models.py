"""Models of recorded commits, kept so that a changed evaluation can be put to them without training them again.

``models/<name>/<commit>/<first 16 of the digest>/…`` are the files of a model, and beside that folder
``kept-<time>-<first 16>.json`` says that all of it is there. Whoever can write there
can't choose what is evaluated: the digest is that of the recorded run.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import pydantic

from metricgate import run as runs
from metricgate.baseline import layout, retention
from metricgate.errors import InputError
from metricgate.place import Place
from metricgate.run import RunRecord
from metricgate.train import digest, run_folder
from metricgate.train.model import KEPT_AS

MODELS = "models"

_TIME = "%Y%m%dT%H%M%SZ"
_DIGEST = re.compile(rf"{digest.PREFIX}(?P<short>[0-9a-f]{{16}})[0-9a-f]{{48}}")
_MARKER = re.compile(r"kept-(?P<time>\d{8}T\d{6}Z)-(?P<digest>[0-9a-f]{16})\.json")


class _Marker(pydantic.BaseModel):
    """``kept-….json``: which files a model has; the empty name is a model that is one file."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["metricgate.model/1"] = pydantic.Field(default="metricgate.model/1", alias="schema")
    files: Annotated[dict[str, Annotated[int, pydantic.Field(ge=0)]], pydantic.Field(min_length=1)]

    @pydantic.field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, int]) -> dict[str, int]:
        for name in files:
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
                message = f"{name[:100]!r} leads out of the model"
                raise ValueError(message)
        return files


@dataclass(frozen=True)
class Models:
    """A place for models.

    Attributes:
        place: Where.
        name: The model's name.
    """

    place: Place
    name: str

    def keep(self, folder: Path, *, now: datetime) -> tuple[str, ...]:
        """Keep the models of the runs in a folder. One that is there already is not written again.

        Args:
            folder: The folder with ``seed-<seed>`` folders, as training left it.
            now: When.

        Returns:
            The runs whose model is there now.

        Raises:
            StageError: The place can't be reached or written.
        """
        kept = []
        for run in run_folder.existing(folder):
            record, model = runs.read_record(run.path), run.path / KEPT_AS
            if record is not None and record.commit and record.model_digest and model.exists():
                self._keep(model, commit=record.commit, expected=record.model_digest, now=now)
                kept.append(run.path.name)
        return tuple(kept)

    def fetch(self, recorded: Path, into: Path) -> None:
        """Put the models of recorded runs into run folders that can be evaluated.

        Args:
            recorded: The recorded runs.
            into: A folder; each run gets its ``seed-<seed>`` in it.

        Raises:
            InputError: A run has no model or no seed, or its model is gone, or another one.
            StageError: The place can't be reached.
        """
        there = run_folder.existing(recorded)
        if not there:
            raise InputError("the recorded runs have no seeds", where=str(recorded), expected="folders seed-<seed>")
        for run in there:
            record = runs.read_record(run.path)
            if record is None or not record.commit or not record.model_digest:
                raise InputError("the recorded run names no model", where=str(run.path), expected="a model_digest in run.json")
            target = into / run.path.name
            target.mkdir(parents=True, exist_ok=True)
            self._fetch(record, target / KEPT_AS)
            runs.write_record(target, record)

    def fetch_model(self, record: RunRecord, target: Path) -> Path:
        """Put the model of one recorded run at a path where nothing is.

        Raises:
            InputError: The run names no model, or it is gone, or another one.
            StageError: The place can't be reached.
        """
        if not record.commit or not record.model_digest:
            raise InputError("the recorded run names no model", expected="a commit and a model_digest in run.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._fetch(record, target)
        return target

    def retain(self, *, most: int) -> tuple[str, ...]:
        """Delete the models of all but the newest commits.

        Returns:
            The commits whose models are gone, oldest first.
        """
        newest: dict[str, datetime] = {}
        root = self.place.path(f"{MODELS}/{layout.slug(self.name)}")
        with self.place.told_plainly(root):
            for path in self.place.system.glob(f"{root}/*/kept-*.json"):
                commit, file = str(path).split("/")[-2:]
                if match := _MARKER.fullmatch(file):
                    time = datetime.strptime(match["time"], _TIME).replace(tzinfo=timezone.utc)
                    newest[commit] = max(time, newest.get(commit, time))
        gone = retention.superfluous(newest, keep=most, needed=())
        for commit in gone:
            self.place.remove(self._folder(commit))
        return gone

    def _folder(self, commit: str) -> str:
        return f"{MODELS}/{layout.slug(self.name)}/{layout.full_commit(commit)}"

    def _keep(self, model: Path, *, commit: str, expected: str, now: datetime) -> None:
        short = _short(expected)
        home = self.place.path(self._folder(commit))
        system = self.place.system
        with self.place.told_plainly(home):
            if system.glob(f"{home}/kept-*-{short}.json"):
                return
            files = {"": model} if model.is_file() else digest.files_in(model)
            for name, file in files.items():
                target = posixpath.join(home, short, name or "file")
                system.makedirs(posixpath.dirname(target), exist_ok=True)
                system.put_file(str(file), target)
            marker = _Marker(files={name: file.stat().st_size for name, file in files.items()})
            content = json.dumps(marker.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True).encode()
            last = f"{home}/kept-{now.astimezone(timezone.utc).strftime(_TIME)}-{short}.json"
            if self.place.is_disk:
                aside = f"{home}/.{uuid.uuid4().hex}"
                system.pipe_file(aside, content)
                system.mv(aside, last)
            else:
                system.pipe_file(last, content)

    def _fetch(self, record: RunRecord, target: Path) -> None:
        expected = str(record.model_digest)
        short = _short(expected)
        home = self.place.path(self._folder(str(record.commit)))
        system = self.place.system
        with self.place.told_plainly(home):
            markers = sorted(str(path) for path in system.glob(f"{home}/kept-*-{short}.json"))
            if not markers:
                raise InputError(
                    "the model of a recorded run was not kept, or is gone",
                    where=self.place.shown(f"{home}/{short}"),
                    expected=f"the model with the digest {expected}",
                )
            marker = _read_marker(system.cat_file(markers[-1]), where=self.place.shown(markers[-1]))
            with tempfile.TemporaryDirectory(prefix=".model-", dir=target.parent) as aside:
                copy = Path(aside) / KEPT_AS
                for name in marker.files:
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    system.get_file(posixpath.join(home, short, name or "file"), str(copy / name))
                if (found := digest.of_path(copy)) != expected:
                    raise InputError(
                        f"the kept model has the digest {found}",
                        where=self.place.shown(f"{home}/{short}"),
                        expected=expected,
                        fix="find out who changed it; delete its folder, and the merge-base is trained instead",
                    )
                shutil.move(copy, target)


def _short(expected: str) -> str:
    match = _DIGEST.fullmatch(expected)
    if match is None:
        raise InputError(f"{expected[:80]!r} is no digest", expected=f"{digest.PREFIX} and 64 of 0-9 and a-f")
    return match["short"]


def _read_marker(content: bytes, *, where: str) -> _Marker:
    try:
        return _Marker.model_validate_json(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=where, expected="a metricgate.model/1 document"
        ) from None
