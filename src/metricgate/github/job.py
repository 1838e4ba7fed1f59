"""What every stage of an action works with, and how it runs the repository's own commands."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate import config_file, pipeline
from metricgate.github import event
from metricgate.github.checkout import Checkout
from metricgate.github.commands import Commands
from metricgate.github.event import Work
from metricgate.github.settings import Settings

if TYPE_CHECKING:
    from metricgate.baseline.judged import WorkflowRun
    from metricgate.github.api import Repository

# What a step tells its runner with. The repository's code must not speak for metricgate: it could write our outputs.
_RUNNER_FILES = frozenset({"GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"})


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every stage works with."""

    settings: Settings
    runner: Commands
    environ: Mapping[str, str]

    @cached_property
    def work(self) -> Work:
        """What there is to do."""
        return event.work(self.settings.event_name, event.read(self.settings.event_file))

    @property
    def checkout(self) -> Checkout:
        """The repository that the job works in."""
        return Checkout(self.settings.workspace)

    @property
    def model_name(self) -> str:
        """The model's name where the configuration gives none."""
        return self.settings.repository.rpartition("/")[2] or self.settings.workspace.resolve().name

    @cached_property
    def repository(self) -> Repository | None:
        """The repository on GitHub; None without a token. No request yet."""
        if not self.settings.token or not self.settings.repository:
            return None
        from metricgate.github import api  # half a second that a training need not wait for

        session = api.connect(self.settings.token, api_url=self.settings.api_url)
        return session.repository(self.settings.repository)

    def folder(self, purpose: str) -> Path:
        """A new folder that outlives the step and not the job."""
        self.settings.temporary.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"metricgate-{purpose}-", dir=self.settings.temporary))

    def base(self) -> str | None:
        """The commit that the change is compared with; None where there is no change."""
        return self.checkout.base_of(self.work) if self.work.kind == "compare" else None

    def before(self) -> str | None:
        """The commit from which on a recorded baseline is looked for, a push's first parent; None where none is wanted."""
        return self.checkout.parent() if self.work.kind == "record" else self.base()

    @property
    def workflow(self) -> WorkflowRun | None:
        """This run of a workflow; None outside GitHub."""
        from metricgate.baseline.judged import WorkflowRun

        given = self.settings
        if not given.run_id:
            return None
        url = f"{given.server_url}/{given.repository}/actions/runs/{given.run_id}"
        return WorkflowRun(name=self.environ.get("GITHUB_WORKFLOW", "")[:1000], id=given.run_id, url=url)

    def produce(
        self,
        root: Path,
        run_dir: Path | None,
        *,
        stages: tuple[pipeline.Stage, ...],
        title: str,
        recorded: Sequence[Path] = (),
    ) -> Path:
        """Train or evaluate (or both) what is checked out at ``root``, in groups of the log where nothing is a command.

        Args:
            root: The checkout.
            run_dir: Where the runs go.
            stages: What is done.
            title: Of the group around those of each training and evaluation.
            recorded: Folders of recorded runs that may take the place of a training. What lies in the checkout is never one:
                a change could bring its own.
        """
        from metricgate.train import Console

        with self.runner.group(title), self.runner.foreign_output() as group:
            return pipeline.produce(
                root,
                console=Console(output=sys.stdout.buffer, progress=sys.stderr, grouping=group),
                environ=self.foreign_environ,
                config=Path(self.settings.config),
                stages=stages,
                run_dir=run_dir,
                seeds=self.settings.seeds,
                recorded=recorded,
                model=self._needs_model(root),
            )

    def _needs_model(self, root: Path) -> bool:
        """Whether a recorded run counts only with its model: for a release, or where those of a push are kept."""
        if self.settings.keep_model or self.work.kind != "record":
            return self.settings.keep_model
        config = config_file.load(root / self.settings.config, default_name=self.model_name)
        return config.model is not None and config.baseline.models is not None

    @property
    def foreign_environ(self) -> Mapping[str, str]:
        """The environment of the repository's own commands."""
        from metricgate.train.checkpoints import FOLDER_VARIABLE

        kept = {name: value for name, value in self.environ.items() if name not in _RUNNER_FILES}
        place = self.settings.checkpoints
        return kept if place is None else {**kept, FOLDER_VARIABLE: str(place)}
