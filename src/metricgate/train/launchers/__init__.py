"""Trainings on other machines, by an engine that is there: Slurm, Ray, Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping

from metricgate.train.launchers.job import Launcher
from metricgate.train_config import Train


def of(train: Train, *, environ: Mapping[str, str]) -> Launcher | None:
    """The engine that a configuration names; None where trainings run on this machine.

    Args:
        train: The configuration.
        environ: The environment in which the engine's commands or clients run.

    Raises:
        ConfigError: The configuration says something about the engine that can't be.
        StageError: What is needed to talk to it is not here.
    """
    if train.launcher == "slurm":
        from metricgate.train.launchers.slurm import SlurmJobs

        return SlurmJobs(train.slurm, environ=environ)
    if train.launcher == "ray":
        from metricgate.train.launchers.ray import RayJobs

        return RayJobs(train.ray, environ=environ)
    if train.kubernetes is not None and train.launcher == "kubernetes":
        from metricgate.train.launchers.kubernetes import KubernetesJobs

        return KubernetesJobs(train.kubernetes, environ=environ)
    return None
