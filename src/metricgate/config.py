"""``metricgate.yaml`` as typed, frozen objects."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

import pydantic

from metricgate import aggregates
from metricgate.config_fields import Duration, Finite, Limit, LimitField, Section, Text, not_empty
from metricgate.publish_config import Publish
from metricgate.train_config import Train
from metricgate.tune_config import Tune

FILE_NAME = "metricgate.yaml"

Outcome = Literal["pass", "warn", "fail"]
Kind = Literal["min", "max", "max_regression", "min_improvement", "must_not_flip"]
KINDS: tuple[Kind, ...] = ("min", "max", "max_regression", "min_improvement", "must_not_flip")

Aggregate = Annotated[
    str,
    pydantic.AfterValidator(aggregates.check),
    pydantic.WithJsonSchema(
        {
            "anyOf": [
                {"enum": [*aggregates.OF_SCORES, *aggregates.OF_TEST_SETS]},
                {"type": "string", "pattern": f"^({aggregates.PERCENTILE}|{aggregates.FUNCTION})$"},
            ]
        }
    ),
]


class Evaluate(Section):
    """How a model is evaluated. Without this section the training command writes the metrics too."""

    run: Text
    """Any command, run by bash at the repository root. It writes metrics.json and scores.* to METRICGATE_RUN_DIR."""
    timeout: Annotated[Duration, pydantic.Field(json_schema_extra={"default": "1h"})] = 3600.0
    """How long one evaluation may take."""
    inputs: tuple[Text, ...] = ()
    """Files or globs that the evaluation depends on, beyond those that the command names."""


class MetricConfig(Section):
    """One metric."""

    direction: Literal["higher", "lower"]
    """Which way is better."""
    aggregate: Aggregate = "mean"
    """How it comes from the score table: the mean, median or a percentile such as p95 of the score column of that name;
    a metric of labels and predictions such as f1_macro or roc_auc; or a function of your own, module:function."""
    label: Text | None = None
    """The column with the truth, for a metric of labels and predictions; by default `label`."""
    prediction: Text | None = None
    """The column with what was predicted: a class, a probability or a number; by default `prediction`."""
    weight: Text | None = None
    """The column that says how much an example counts; by default all count the same."""
    positive: Text | int | bool | None = None
    """The positive one of two classes, such as spam; by default 1 or true."""
    threshold: Finite | None = None
    """From which prediction on an example is predicted to be positive, where the column holds numbers and not classes."""
    timing: bool = False
    """The number depends on the machine, as a latency does: it is compared only between runs on the same hardware."""

    @pydantic.model_validator(mode="after")
    def _columns_are_needed(self) -> MetricConfig:
        columns = ("label", "prediction", "weight", "positive", "threshold")
        given = [name for name in columns if getattr(self, name) is not None]
        if given and not aggregates.is_set_level(self.aggregate):
            message = f"`{given[0]}` is for a metric of labels and predictions; add its name, such as `aggregate: f1_macro`"
            raise ValueError(message)
        if self.positive is not None and self.aggregate not in aggregates.OF_TWO_CLASSES:
            message = f"`positive` is for a metric of two classes, and `{self.aggregate}` is none"
            raise ValueError(message)
        if self.threshold is not None and self.aggregate not in aggregates.OF_CLASSES:
            message = f"`threshold` makes classes of numbers, and `{self.aggregate}` needs none"
            raise ValueError(message)
        return self

    @property
    def set_level(self) -> bool:
        """Whether it is computed from labels and predictions, and not from one column of scores."""
        return aggregates.is_set_level(self.aggregate)

    @property
    def columns(self) -> tuple[str, ...]:
        """The score-table columns that a metric of labels and predictions needs: label, prediction and perhaps weight."""
        if not self.set_level:
            return ()
        weight = () if self.weight is None else (self.weight,)
        return (self.label or "label", self.prediction or "prediction", *weight)


class ScoreColumns(Section):
    """Names of the score-table columns that have a role."""

    id: Text = "example_id"
    """The column that names an example; baseline and candidate are paired by it."""
    cluster: Text | None = None
    """The column that groups examples which are not independent: questions of one passage, frames of one video."""


class Rule(Section):
    """One line of the policy: a metric, where, and exactly one of what is allowed."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in KINDS]},
    )

    metric: Text
    """The metric's name under `metrics`."""
    min: Finite | None = None
    """The candidate has to be at least this."""
    max: Finite | None = None
    """The candidate has to be at most this."""
    max_regression: LimitField | None = None
    """The candidate may be worse than the baseline by this much: 0.01, or 10% of the baseline."""
    min_improvement: LimitField | None = None
    """The candidate has to be better than the baseline by more than this."""
    must_not_flip: Text | None = None
    """A true/false column: no example where it is true may turn from right to wrong."""
    slices: tuple[Text, ...] = ()
    """Score-table columns: the rule holds for every value of each of them, instead of for all examples."""
    min_n: Annotated[int, pydantic.Field(ge=2)] = 50
    """Slices with fewer examples are listed, not tested."""

    @pydantic.model_validator(mode="after")
    def _exactly_one_kind(self) -> Rule:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            message = f"a rule needs exactly one of {', '.join(KINDS)}; this one has {', '.join(given) or 'none'}"
            raise ValueError(message)
        return self

    @property
    def kind(self) -> Kind:
        """Which of the five kinds of rule this is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def limit(self) -> Limit:
        """What is allowed; ``must_not_flip`` allows nothing."""
        value = getattr(self, self.kind)
        if isinstance(value, Limit):
            return value
        return Limit(0.0 if isinstance(value, str) else float(value))


class Reuse(Section):
    """How often one test set may be asked. Verdicts are counted by its fingerprint, where the baselines are kept."""

    budget: Annotated[int, pydantic.Field(ge=1)] | None = None
    """How many verdicts one test set may give. Without it, and without `tolerance`, they are only counted."""
    tolerance: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None
    """Instead of `budget`: as many as keep every difference of two shares within this, by the bounds of ease.ml/ci."""
    reliability: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.99
    """With `tolerance`: the probability that all of them are."""
    adaptivity: Literal["none", "full"] = "full"
    """With `tolerance`: whether later changes are written by people who saw earlier verdicts (full), or not (none)."""
    on_exhausted: Outcome = "fail"
    """What a spent budget means: `fail` lets nothing pass (exit code 3), `warn` says so, `pass` only counts."""

    @pydantic.model_validator(mode="after")
    def _one_budget(self) -> Reuse:
        if self.budget is not None and self.tolerance is not None:
            message = "budget and tolerance both say how many verdicts there may be; give one of them"
            raise ValueError(message)
        return self


class Gate(Section):
    """The policy: what is allowed, and how sure a verdict has to be."""

    alpha: Annotated[float, pydantic.Field(gt=0, lt=0.5)] = 0.05
    """The error rate of the gate: how often healthy work may be blocked, or a regression of the limit's size passed."""
    power: Annotated[float, pydantic.Field(ge=0.5, lt=1)] = 0.8
    """The probability with which the reported minimum detectable effect would be seen."""
    on_inconclusive: Outcome = "warn"
    """What the verdict is when the evidence shows neither pass nor fail."""
    on_missing_baseline: Outcome = "warn"
    """What the verdict is when there is nothing to compare with."""
    on_not_comparable: Outcome = "fail"
    """What the verdict is when the test set changed, or a metric or slice vanished."""
    reuse: Reuse = Reuse()
    """How often one test set may be asked."""
    rules: (
        Annotated[tuple[Rule, ...], pydantic.AfterValidator(not_empty), pydantic.Field(json_schema_extra={"minItems": 1})]
        | None
    ) = None
    """The rules. Without any, no metric may get worse (`max_regression: 0` for each)."""


class Baseline(Section):
    """Where runs are recorded, and which of them a change is compared with."""

    store: Text = "branch"
    """Where runs are recorded: `branch` (a branch of the repository without history of its code), or a folder."""
    branch: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")] = "metricgate"
    """The name of that branch."""
    scores: Text | None = None
    """A folder, or a URL such as s3://bucket/path, for the score tables; the store then keeps their digests only."""
    models: Text | None = None
    """A folder, or a URL, for the models of recorded commits; a changed evaluation is put to them, without training again."""
    max_commits: Annotated[int, pydantic.Field(ge=1, le=1000)] = 50
    """How many commits before the merge-base a recorded ancestor may lie; farther back, there is no baseline."""
    train_missing: bool = True
    """Where no ancestor is recorded, train the commit that the change goes into; otherwise `on_missing_baseline` decides."""
    keep: Annotated[int, pydantic.Field(ge=1)] = 100
    """How many recorded commits are kept, beside those that an open pull request, a tag or the ledger refers to."""


class Config(Section):
    """metricgate.yaml."""

    version: Literal[1] = 1
    """The version of this format."""
    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ /-]{0,99}$")] = "model"
    """The model's name in reports; by default the repository's name."""
    train: Train | None = None
    evaluate: Evaluate | None = None
    model: Text | None = None
    """The file or folder that training writes."""
    metrics: Annotated[dict[Text, MetricConfig], pydantic.Field(min_length=1)]
    """The metrics that the rules can name."""
    scores: ScoreColumns = ScoreColumns()
    slices: tuple[Text, ...] = ()
    """Score-table columns whose values name slices."""
    noise: dict[Text, Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]] = pydantic.Field(default={})
    """The standard deviation of a metric over training seeds, where it was measured elsewhere."""
    gate: Gate = Gate()
    baseline: Baseline = Baseline()
    publish: Publish = Publish()
    tune: Tune | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force: those of the file, or that no metric may get worse."""
        if self.gate.rules is not None:
            return self.gate.rules
        return tuple(Rule(metric=name, max_regression=Limit(0.0)) for name in self.metrics)

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """Every column that names slices, in the order in which the file mentions them."""
        columns = [*self.slices, *(column for rule in self.rules for column in rule.slices)]
        return tuple(dict.fromkeys(columns))

    @property
    def policy_digest(self) -> str:
        """The digest of what decides a verdict: gate, metrics, slices, scores, noise. Where runs are kept is no part of it.

        A policy is the same however it is written: what is left out counts as its default.
        """
        decided = self.model_copy(update={"gate": self.gate.model_copy(update={"rules": self.rules})})
        keys = {"gate", "metrics", "slices", "scores", "noise"}
        # Defaults are left out: a policy stays what it is where a later version knows more of them.
        plain = decided.model_dump(mode="json", include=keys, exclude_defaults=True)
        content = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    def with_policy_of(self, base: Config) -> Config:
        """This configuration judged by the policy (gate, metrics, slices, scores, noise, baseline) of another one."""
        return self.model_copy(
            update={key: getattr(base, key) for key in POLICY_KEYS},
        )

    def policy_changes(self, base: Config) -> tuple[str, ...]:
        """What differs from the policy of ``base``, one line each: ``gate.alpha: 0.05 → 0.1``."""
        old = _flatten({key: getattr(base, key) for key in POLICY_KEYS})
        new = _flatten({key: getattr(self, key) for key in POLICY_KEYS})
        return tuple(
            f"{key}: {old.get(key, '(none)')} → {new.get(key, '(none)')}"
            for key in dict.fromkeys([*old, *new])
            if old.get(key) != new.get(key)
        )


POLICY_KEYS = ("gate", "metrics", "slices", "scores", "noise", "baseline")


def _flatten(value: object, path: str = "") -> dict[str, str]:
    if isinstance(value, pydantic.BaseModel):
        value = {key: getattr(value, key) for key in type(value).model_fields if getattr(value, key) is not None}
    if isinstance(value, dict):
        items = [(f"{path}.{key}" if path else str(key), child) for key, child in value.items()]
    elif isinstance(value, tuple) and not isinstance(value, Limit):
        items = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        return {path: str(value)}
    return {key: text for name, child in items for key, text in _flatten(child, name).items()}
