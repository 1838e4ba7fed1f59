"""Runs the user's evaluation and collects what it wrote into a run."""

from metricgate.evaluate.collection import collect
from metricgate.evaluate.evaluation import Evaluator, evaluate

__all__ = ["Evaluator", "collect", "evaluate"]
