"""How a metric comes from the score table: the names that a configuration may give, and which columns they need.

Apart from what computes them, so that reading a configuration needs no numpy.
"""

from __future__ import annotations

import difflib
import re

OF_SCORES = ("mean", "median")
"""Of the score column that has the metric's name; beside them percentiles such as p95."""

OF_CLASSES = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "precision",
    "precision_macro",
    "precision_micro",
    "precision_weighted",
    "recall",
    "recall_macro",
    "recall_micro",
    "recall_weighted",
    "matthews_corrcoef",
    "cohen_kappa",
)
OF_RANKS = ("roc_auc", "average_precision")
OF_PROBABILITIES = ("log_loss", "brier", "calibration_error")
OF_NUMBERS = ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2")
OF_TEST_SETS = (*OF_CLASSES, *OF_RANKS, *OF_PROBABILITIES, *OF_NUMBERS)
"""Of the whole test set, from its columns of labels and predictions, under scikit-learn's names where it has one."""

OF_TWO_CLASSES = ("f1", "precision", "recall", *OF_RANKS, *OF_PROBABILITIES)
"""Those of them that need to know which class is the positive one."""

PERCENTILE = r"p\d{1,2}(\.\d+)?"
FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"

_ELSEWHERE = {
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "ap": "average_precision",
    "average": "mean",
    "mcc": "matthews_corrcoef",
    "kappa": "cohen_kappa",
    "ece": "calibration_error",
    "expected_calibration_error": "calibration_error",
    "brier_score": "brier",
    "brier_score_loss": "brier",
    "neg_brier_score": "brier",
    "neg_log_loss": "log_loss",
    "cross_entropy": "log_loss",
    "mae": "mean_absolute_error",
    "neg_mean_absolute_error": "mean_absolute_error",
    "mse": "mean_squared_error",
    "neg_mean_squared_error": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "neg_root_mean_squared_error": "root_mean_squared_error",
    "r2_score": "r2",
    "f1_score": "f1",
    "precision_score": "precision",
    "recall_score": "recall",
    "roc_auc_score": "roc_auc",
    "accuracy_score": "accuracy",
}


def is_set_level(aggregate: str) -> bool:
    """Whether it is computed from labels and predictions, and not from one column of scores."""
    return aggregate in OF_TEST_SETS or is_function(aggregate)


def is_function(aggregate: str) -> bool:
    """Whether it is a function of the user's, ``module:function``."""
    return re.fullmatch(FUNCTION, aggregate) is not None


def check(aggregate: str) -> str:
    """The aggregate, if there is one of that name.

    Raises:
        ValueError: There is none; the message names the nearest.

    >>> check("roc_auc")
    'roc_auc'
    >>> check("auc")
    Traceback (most recent call last):
    ...
    ValueError: is not one that is known; did you mean `roc_auc`?
    """
    if aggregate in OF_SCORES or is_set_level(aggregate) or re.fullmatch(PERCENTILE, aggregate):
        return aggregate
    name = aggregate.lower()
    near = difflib.get_close_matches(name, [*OF_SCORES, *OF_TEST_SETS, *_ELSEWHERE], n=1)
    hint = "it may be mean, median, a percentile such as p95, "
    if near:
        hint = f"did you mean `{_ELSEWHERE.get(near[0], near[0])}`?"
    if not near:
        hint += f"module:function, or {', '.join(OF_TEST_SETS)}"
    message = f"is not one that is known; {hint}"
    raise ValueError(message)
