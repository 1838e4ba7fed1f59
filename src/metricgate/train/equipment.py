"""What the commands of a job work with: GPUs that nobody else has, and the data set that is fetched once a machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from metricgate.config import Config
from metricgate.train import fetching
from metricgate.train.console import Console
from metricgate.train.gpu import claims
from metricgate.train.gpu.claims import Claim

_DATA = "data"
_FETCH_LOG = "fetch.log"


@dataclass(frozen=True)
class Equipment:
    """What is there for as long as the job has it.

    Attributes:
        claim: The GPUs.
        environ: The environment that commands inherit; it leads to the data set.
        fetched: The digest of the data set; None where none is fetched.
    """

    claim: Claim
    environ: Mapping[str, str]
    fetched: str | None = None


@contextlib.contextmanager
def ready(
    config: Config, *, root: Path, kept: Path, folder: Path, seeds: int, environ: Mapping[str, str], console: Console
) -> Iterator[Equipment]:
    """Fetch what is to be fetched, then have the GPUs: nobody waits for one that waits for a network.

    Args:
        config: What is trained and evaluated.
        root: The repository root.
        kept: Where this machine keeps what outlives a job.
        folder: Where the runs go, and the log of what is fetched.
        seeds: How many are trained.
        environ: The environment that commands inherit.
        console: Says what is waited for.

    Raises:
        CommandError: Fetching failed.
        StageError: There are not so many GPUs, or they did not get free in time.
    """
    train = config.train
    timeout_s = train.timeout if train else config.evaluate.timeout if config.evaluate else 0.0
    with contextlib.ExitStack() as stack:
        fetched = None
        if train is not None and train.fetch is not None:
            data = stack.enter_context(
                fetching.fetched(
                    train.fetch,
                    root=root,
                    place=kept / _DATA,
                    log=folder / _FETCH_LOG,
                    environ=environ,
                    console=console,
                    timeout_s=timeout_s,
                )
            )
            fetched = data.digest
            environ = {**environ, fetching.VARIABLE: str(data.folder)}
        here = train is None or train.launcher == "local"  # elsewhere, the engine gives them; an evaluation takes one, if any
        claim = stack.enter_context(
            claims.claim(
                train.gpus if train and here else None,
                per=min(train.parallel, seeds) if train and here else 1,
                folder=claims.default_folder(environ),
                console=console,
                timeout_s=timeout_s,
                environ=environ,
            )
        )
        yield Equipment(claim=claim, environ=environ, fetched=fetched)
