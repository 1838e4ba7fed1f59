"""What is known of a training before it runs: digests of its data and inputs, and the environment that it will find."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metricgate.config import Config
from metricgate.run import Fingerprints
from metricgate.train import command, digest, environment, fetching, inputs

PARAMETERS = "METRICGATE_PARAMS"


@dataclass(frozen=True)
class Known:
    """Read once, before the first training, which may write into the folders that are read.

    Attributes:
        config: What is trained.
        root: The repository root.
        environ: The environment that the commands inherit.
        fetched: The digest of the data set that ``train.fetch`` fetched.
    """

    config: Config
    root: Path
    environ: Mapping[str, str]
    fetched: str | None = None

    def look(self) -> Known:
        """Read everything now; the environment meanwhile, in a thread."""
        _ = self.manifest, self.inputs, self.data, self.parameters
        return self

    @cached_property
    def inputs(self) -> str | None:
        """The digest of ``train.inputs``; None where nothing is declared."""
        patterns = self.config.train.inputs if self.config.train else ()
        return digest.of_files(inputs.matches(patterns, root=self.root, key="train.inputs")) if patterns else None

    @cached_property
    def data(self) -> str | None:
        """The digest of ``train.data`` and of what ``train.fetch`` fetched."""
        patterns = self.config.train.data if self.config.train else ()
        named = digest.of_files(inputs.matches(patterns, root=self.root, key="train.data")) if patterns else None
        return fetching.of_both(named, self.fetched)

    @cached_property
    def parameters(self) -> str | None:
        """The digest of the parameters that a search chose, where this is one of its trainings."""
        file = self.environ.get(PARAMETERS)
        return digest.of_file(Path(file)) if file else None

    @cached_property
    def manifest(self) -> Future[dict[str, Any]]:
        """The environment, as ``run.json`` keeps it."""
        stage = self.config.train or self.config.evaluate
        line = stage.run if stage else ""
        pool = ThreadPoolExecutor(max_workers=1)
        future = pool.submit(environment.manifest, line, cwd=self.root, environ=command.inherited(self.environ))
        pool.shutdown(wait=False)
        return future

    def training(self, manifest: Mapping[str, Any]) -> str | None:
        """The digest of everything that training depends on; None where ``train.inputs`` does not declare it."""
        train = self.config.train
        if train is None or self.inputs is None:
            return None
        identity = {name: value for name, value in train.identity.items() if name != "run"}
        more = [*([repr(sorted(identity.items()))] if identity else []), *([self.parameters] if self.parameters else [])]
        return digest.of_texts([train.run, self.inputs, self.data or "", environment.fingerprint(manifest) or "", *more])

    def fingerprints(self, manifest: Mapping[str, Any]) -> Fingerprints:
        """What ``run.json`` keeps of a training."""
        return Fingerprints(data=self.data, training=self.training(manifest), environment=environment.fingerprint(manifest))
