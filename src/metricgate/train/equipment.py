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
        claim: The GPUs; none where other machines train.
        environ: The environment that commands inherit; it leads to the data set.
        fetched: The digest of the data set; None where none is fetched.
    """

    claim: Claim
    environ: Mapping[str, str]
    fetched: str | None = None


@contextlib.contextmanager
def ready(
    config: Config,
    *,
    root: Path,
    kept: Path,
    folder: Path,
    seeds: int,
    environ: Mapping[str, str],
    console: Console,
    trains: bool = True,
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
        trains: Whether there is anything to train, or only to evaluate.

    Raises:
        CommandError: Fetching failed.
        StageError: There are not so many GPUs, or they did not get free in time.
    """
    train = config.train
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
                    timeout_s=train.timeout,
                )
            )
            fetched = data.digest
            environ = {**environ, fetching.VARIABLE: str(data.folder)}
        if trains and is_elsewhere(config):
            claim = Claim()
        elif trains and train is not None:
            gpus, at_once = train.gpus, min(train.parallel, seeds)
            claim = stack.enter_context(_claim(gpus, "training", train.timeout, environ, console, per=at_once))
        else:
            claim = stack.enter_context(evaluating(config, environ=environ, console=console))
        yield Equipment(claim=claim, environ=environ, fetched=fetched)


def is_elsewhere(config: Config) -> bool:
    """Whether other machines train."""
    return config.train is not None and config.train.launcher != "local"


def evaluating(config: Config, *, environ: Mapping[str, str], console: Console) -> contextlib.AbstractContextManager[Claim]:
    """Have GPUs for evaluations: as many as a training here; one, if there is any, where other machines train.

    Raises:
        StageError: None got free in time.
    """
    if config.evaluate is None:
        return contextlib.nullcontext(Claim())
    count = config.train.gpus if config.train is not None and not is_elsewhere(config) else None
    return _claim(count, "evaluating", config.evaluate.timeout, environ, console)


def _claim(
    count: int | None, doing: str, timeout_s: float, environ: Mapping[str, str], console: Console, *, per: int = 1
) -> contextlib.AbstractContextManager[Claim]:
    folder = claims.default_folder(environ)
    return claims.claim(count, folder=folder, console=console, timeout_s=timeout_s, environ=environ, per=per, doing=doing)
