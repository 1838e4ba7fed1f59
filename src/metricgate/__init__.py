"""metricgate: a gate for models, with known error rates."""
