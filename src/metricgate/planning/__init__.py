"""Before a limit is set: how many examples, runs and verdicts it needs, and how noisy training is."""
