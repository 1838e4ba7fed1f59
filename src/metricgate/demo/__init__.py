"""``metricgate demo``: the whole way from commits to verdicts, on a small real model."""

from metricgate.demo.demo import main

__all__ = ["main"]
