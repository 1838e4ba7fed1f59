"""metricgate: a gate for models, with known error rates."""

__version__ = "0.1.0"
