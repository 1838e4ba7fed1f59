"""Seeds over runners, as actions: a plan before the jobs that train, and their runs merged after them."""

from __future__ import annotations

from metricgate import config_file
from metricgate.errors import ExitCode, StageError
from metricgate.github import shards
from metricgate.github.job import Job


def plan(job: Job) -> int:
    """Say which seeds each of several jobs trains, by the configuration that is checked out; nothing of it is run."""
    from metricgate.train.training import seeds_of

    config = config_file.load(job.settings.workspace / job.settings.config, default_name=job.model_name)
    seeds = seeds_of(config, None)
    planned = shards.plan(seeds, job.settings.shards)
    job.runner.say("\n".join(shard.shown for shard in planned))
    job.runner.output("matrix", shards.matrix(planned))
    job.runner.output("shards", str(len(planned)))
    job.runner.output("seeds", ",".join(map(str, seeds)))
    return ExitCode.PASSED


def merge(job: Job) -> int:
    """Bring the runs of all shards together, or fail and say whose are missing; that the judging job says too."""
    given = job.settings
    if given.runs is None:
        message = "the settings require runs"
        raise ValueError(message)
    config = config_file.load(given.workspace / given.config, default_name=job.model_name)
    into = given.run_dir or job.folder("merged") / "runs"
    try:
        shards.require(given.needs, given.runs, given.matrix)
        shards.merge(
            given.runs,
            given.matrix,
            into=into,
            name=config.name,
            commit=job.checkout.head(),
            warn=lambda text: job.runner.annotate("warning", text, title="The shards differ"),
        )
    except StageError as error:
        job.runner.output("problem", error.found)
        raise
    job.runner.say(f"all {sum(len(shard.seeds) for shard in given.matrix)} seeds of {len(given.matrix)} shards are there")
    job.runner.output("run-dir", str(into))
    job.runner.output("problem", "")
    return ExitCode.PASSED
