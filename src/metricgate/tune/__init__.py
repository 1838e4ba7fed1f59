"""Searches for better parameters with Optuna: trials that are pruned, resumed and shared, and the best of them judged."""
