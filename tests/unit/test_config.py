"""metricgate.yaml: what is accepted, and how mistakes are explained."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import aggregates, config_file, config_schema, publish_config
from metricgate.config import Config
from metricgate.config_fields import Limit
from metricgate.errors import ConfigError, ExitCode
from metricgate.stats import set_metrics

ROOT = Path(__file__).parents[2]

CONTRACT = """\
version: 1
name: digits-cnn
train:
  run: python train.py
  seeds: [0]
  timeout: 6h
  retries: 2
evaluate:
  run: python evaluate.py
model: outputs/model
metrics:
  accuracy: {direction: higher}
  latency_ms: {direction: lower, aggregate: p95}
scores: {id: example_id, cluster: null}
slices: [label]
gate:
  alpha: 0.05
  power: 0.8
  on_inconclusive: warn
  on_missing_baseline: warn
  on_not_comparable: fail
  rules:
    - {metric: accuracy, min: 0.90}
    - {metric: accuracy, max_regression: 0.01}
    - {metric: latency_ms, max_regression: 10%}
    - {metric: accuracy, slices: [label], max_regression: 0.03, min_n: 50}
    - {metric: accuracy, must_not_flip: critical}
    - {metric: accuracy, min_improvement: 0.005}
"""

METRICS = "metrics: {accuracy: {direction: higher}}\n"


def mistakes(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config_file.loads(text)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def test_the_contract_s_example_is_understood() -> None:
    loaded = config_file.loads(CONTRACT)
    assert loaded.train is not None
    assert loaded.train.timeout == 6 * 3600
    assert [(rule.kind, rule.limit) for rule in loaded.rules] == [
        ("min", Limit(0.9)),
        ("max_regression", Limit(0.01)),
        ("max_regression", Limit(0.1, relative=True)),
        ("max_regression", Limit(0.03)),
        ("must_not_flip", Limit(0.0)),
        ("min_improvement", Limit(0.005)),
    ]


def test_metrics_are_all_that_is_needed() -> None:
    loaded = config_file.loads(METRICS)
    assert loaded.gate.alpha == 0.05
    assert loaded.gate.on_not_comparable == "fail"
    assert loaded.scores.id == "example_id"


def test_without_rules_no_metric_may_get_worse() -> None:
    loaded = config_file.loads("metrics: {accuracy: {direction: higher}, loss: {direction: lower}}")
    assert [(rule.metric, rule.kind, rule.limit) for rule in loaded.rules] == [
        ("accuracy", "max_regression", Limit(0.0)),
        ("loss", "max_regression", Limit(0.0)),
    ]


def test_the_name_defaults_to_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my model!"
    folder.mkdir()
    (folder / "metricgate.yaml").write_text(METRICS)
    assert config_file.load(folder / "metricgate.yaml").name == "my-model-"


def test_a_configuration_is_frozen() -> None:
    loaded = config_file.loads(METRICS)
    with pytest.raises(ValueError, match="frozen"):
        loaded.name = "other"  # type: ignore[misc]


def test_an_unknown_key_names_the_nearest_one_and_the_line() -> None:
    message = mistakes(METRICS + "gate:\n  rules:\n    - {metric: accuracy, max_regresion: 0.01}\n")
    assert message == "metricgate.yaml, line 4: gate.rules[0].max_regresion: unknown key; did you mean `max_regression`?"


def test_an_unknown_key_unlike_any_other_lists_those_there_are() -> None:
    assert "known here: id, cluster" in mistakes(METRICS + "scores: {zzzzzz: 1}\n")


def test_a_rule_about_an_unknown_metric_names_the_nearest() -> None:
    message = mistakes(METRICS + "gate: {rules: [{metric: acuracy, min: 0.5}]}\n")
    assert "gate.rules[0].metric: `acuracy` is not one of the metrics; did you mean `accuracy`?" in message


def test_a_rule_about_a_metric_that_is_missing_shows_the_line_to_add() -> None:
    message = mistakes(METRICS + "gate: {rules: [{metric: wer, max: 0.5}]}\n")
    assert "add `wer: {direction: higher}` under `metrics`" in message


@pytest.mark.parametrize(
    ("aggregate", "hint"),
    [
        ("auc", "did you mean `roc_auc`?"),
        ("roc-auc", "did you mean `roc_auc`?"),
        ("F1_makro", "did you mean `f1_macro`?"),
        ("MSE", "did you mean `mean_squared_error`?"),
        ("ece", "did you mean `calibration_error`?"),
        ("avrage", "did you mean `mean`?"),
        ("my metric", "module:function, or accuracy"),
        ("q95", "a percentile such as p95"),
    ],
)
def test_an_unknown_aggregate_names_the_nearest(aggregate: str, hint: str) -> None:
    message = mistakes(f"metrics:\n  quality: {{direction: higher, aggregate: {aggregate}}}\n")
    assert message.startswith("metricgate.yaml, line 2: metrics.quality.aggregate: is not one that is known")
    assert hint in message


def test_every_name_of_an_aggregate_is_one_that_can_be_computed() -> None:
    assert list(aggregates.OF_TEST_SETS) == list(set_metrics.by_name())
    kinds = {name: metric.inputs for name, metric in set_metrics.by_name().items()}
    assert {name for name, kind in kinds.items() if kind in {"two classes", "ranking", "probabilities"}} == set(
        aggregates.OF_TWO_CLASSES
    )


def test_a_metric_of_labels_and_predictions_names_its_columns() -> None:
    loaded = config_file.loads(
        "metrics:\n"
        "  auc: {direction: higher, aggregate: roc_auc, label: truth, prediction: score}\n"
        "  f1: {direction: higher, aggregate: f1, positive: spam, weight: importance}\n"
        "  cost: {direction: lower, aggregate: 'shop.metrics:cost'}\n"
        "  accuracy: {direction: higher}\n"
    )
    assert [metric.columns for metric in loaded.metrics.values()] == [
        ("truth", "score"),
        ("label", "prediction", "importance"),
        ("label", "prediction"),
        (),
    ]


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("{direction: higher, label: truth}", "`label` is for a metric of labels and predictions"),
        ("{direction: lower, aggregate: p95, weight: w}", "`weight` is for a metric of labels"),
        ("{direction: higher, aggregate: f1_macro, positive: spam}", "`positive` is for a metric of two classes"),
        ("{direction: higher, aggregate: roc_auc, threshold: 0.5}", "`threshold` makes classes of numbers"),
    ],
)
def test_a_key_that_a_metric_has_no_use_for_is_a_mistake(metric: str, hint: str) -> None:
    assert hint in mistakes(f"metrics: {{quality: {metric}}}\n")


def test_all_mistakes_are_reported_at_once_in_the_order_of_lines() -> None:
    message = mistakes(
        "nmae: x\n"
        "train: {run: 5, seeds: [0, 0], timeout: 6 hours}\n"
        "metrics:\n"
        "  accuracy: {direction: up}\n"
        "  latency: {direction: lower, aggregate: q95}\n"
        "gate:\n"
        "  alpha: 0.7\n"
        "  rules:\n"
        "    - {metric: acuracy, min: 0.9}\n"
        "    - {metric: accuracy, max_regression: -1}\n"
        "    - {metric: accuracy, min: 0.1, max: 0.9}\n"
        "    - {metric: accuracy}\n"
    )
    first, *rest = message.splitlines()
    assert first == "metricgate.yaml: 11 mistakes"
    assert [line.split(":")[0].strip() for line in rest] == [f"line {n}" for n in (1, 2, 2, 2, 4, 5, 7, 9, 10, 11, 12)]
    assert "train.timeout: should be a duration such as 90s, 30m, 6h or 1h30m" in message
    assert "this one has min, max" in message
    assert "this one has none" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("- 1\n", "the file holds a"),
        ("metrics: [\n", "not valid YAML"),
        ("metrics: {}\nmetrics: {}\n", "line 2: not valid YAML: found duplicate key"),
        ("\tmetrics: 1\n", "indent with spaces"),
        ("metrics: {}\n", "metrics"),
        ("version: 2\n" + METRICS, "version: should be 1"),
        (METRICS + "gate: {rules: []}\n", "gate.rules"),
        (METRICS + "gate: {rules: [{metric: accuracy, min: .nan}]}\n", "finite number"),
        (METRICS + "gate: {rules: [{metric: accuracy, max_regression: .inf}]}\n", "0 or more"),
        (METRICS + "noise: {acc: 0.1}\n", "`acc` is not one of the metrics"),
        (METRICS + "noise: {accuracy: 0}\n", "greater than 0"),
        ("slices: [label]\n", "metrics: missing; add `metrics: {accuracy: {direction: higher}}`"),
    ],
)
def test_what_can_t_be_read_is_explained(text: str, expected: str) -> None:
    assert expected in mistakes(text)


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metricgate init"):
        config_file.load(tmp_path / "metricgate.yaml")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metricgate.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="UTF-8"):
        config_file.load(tmp_path / "metricgate.yaml")


@given(st.text(max_size=200))
def test_no_text_gives_anything_but_a_configuration_or_a_config_error(text: str) -> None:
    try:
        loaded = config_file.loads(text)
    except ConfigError:
        return
    assert isinstance(loaded, Config)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 59), st.integers(0, 59))
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    loaded = config_file.loads(f"{METRICS}train: {{run: x, timeout: {days}d{hours}h{minutes}m{seconds}s}}\n")
    assert loaded.train is not None
    assert loaded.train.timeout == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@given(st.floats(0, 1e6, allow_nan=False))
def test_percent_and_plain_limits_mean_what_they_say(value: float) -> None:
    for text, limit in (
        (f"{value:.6f}", Limit(float(f"{value:.6f}"))),
        (f"{value:.6f}%", Limit(float(f"{value:.6f}") / 100, True)),
    ):
        loaded = config_file.loads(f"{METRICS}gate: {{rules: [{{metric: accuracy, max_regression: {text}}}]}}\n")
        assert loaded.rules[0].limit == limit


def test_a_changed_policy_is_told_line_by_line() -> None:
    base = config_file.loads(METRICS + "gate: {rules: [{metric: accuracy, max_regression: 0.01}]}\n")
    head = config_file.loads(METRICS + "gate: {alpha: 0.1, rules: [{metric: accuracy, max_regression: 50%}]}\n")
    assert head.policy_changes(base) == ("gate.alpha: 0.05 → 0.1", "gate.rules[0].max_regression: 0.01 → 50%")
    assert head.with_policy_of(base).policy_changes(base) == ()
    assert base.policy_changes(base) == ()


def digest(text: str) -> str:
    return config_file.loads(text).policy_digest


@pytest.mark.parametrize(
    "same",
    [
        METRICS + "gate: {rules: [{metric: accuracy, max_regression: 0.0}]}\n",
        METRICS + "gate: {alpha: 0.05, reuse: {}}\nslices: []\nscores: {id: example_id}\n",
        "name: other\nmodel: elsewhere\ntrain: {run: python train.py}\nbaseline: {keep: 3}\n" + METRICS,
        "publish: {image: ghcr.io/acme/model}\n" + METRICS,
    ],
)
def test_a_policy_has_one_digest_however_it_is_written_and_whatever_stands_beside_it(same: str) -> None:
    assert digest(same) == digest(METRICS)


@pytest.mark.parametrize(
    "other",
    [
        METRICS + "gate: {rules: [{metric: accuracy, max_regression: 1e-9}]}\n",
        METRICS + "gate: {rules: [{metric: accuracy, max_regression: 0%}]}\n",
        METRICS + "gate: {rules: [{metric: accuracy, min: 0}]}\n",
        METRICS + "gate: {on_inconclusive: pass}\n",
        METRICS + "gate: {reuse: {budget: 5}}\n",
        METRICS + "noise: {accuracy: 0.1}\n",
        METRICS + "slices: [label]\n",
        METRICS + "scores: {id: name}\n",
        METRICS.replace("higher", "lower"),
        METRICS.replace("higher", "higher, aggregate: median"),
    ],
)
def test_whatever_may_change_a_verdict_changes_the_digest_of_the_policy(other: str) -> None:
    assert digest(other) != digest(METRICS)


def test_a_change_that_is_judged_by_another_policy_has_its_digest() -> None:
    base, own = config_file.loads(METRICS + "gate: {alpha: 0.01}\n"), config_file.loads(METRICS)
    assert own.with_policy_of(base).policy_digest == base.policy_digest != own.policy_digest


def test_publishing_needs_no_word_and_each_may_be_said() -> None:
    assert config_file.loads(METRICS).publish == publish_config.Publish()
    said = config_file.loads(
        METRICS
        + """
publish:
  image: ghcr.io/acme/model
  rules: ["type=semver,pattern={{version}}"]
  flavor: [latest=false]
  labels: {org.opencontainers.image.vendor: Acme}
  seed: 2
  branch: release/1.x
  dockerfile: serving/Dockerfile
  format: onnx
  base: python:3.12-slim
  tolerance: {rtol: 0.01, atol: 0}
  ready_timeout: 3m
  platforms: [linux/amd64, linux/arm64/v8]
  allow_code: true
"""
    ).publish
    assert (said.image, said.rules, said.seed, said.branch) == (
        "ghcr.io/acme/model",
        ("type=semver,pattern={{version}}",),
        2,
        "release/1.x",
    )
    assert (said.tolerance.rtol, said.tolerance.atol, said.ready_timeout) == (0.01, 0.0, 180.0)
    assert said.platforms == ("linux/amd64", "linux/arm64/v8")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{image: 'ghcr.io/a b'}", "publish.image"),
        ("{image: 'ghcr.io/a@sha256:0'}", "publish.image"),
        ("{rules: []}", "publish.rules"),
        ("{seed: -1}", "publish.seed"),
        ("{branch: '--upload-pack=x'}", "publish.branch"),
        ("{format: pickle}", "publish.format"),
        ("{tolerance: {rtol: -1}}", "publish.tolerance.rtol"),
        ("{ready_timeout: soon}", "publish.ready_timeout"),
        ("{platforms: [windows]}", "publish.platforms"),
        ("{allow_cod: true}", "did you mean `allow_code`?"),
    ],
)
def test_a_mistake_in_publishing_is_told_by_its_place(wrong: str, told: str) -> None:
    assert told in mistakes(METRICS + f"publish: {wrong}\n")


def test_a_location_has_a_line() -> None:
    assert config_file.line_of(CONTRACT, ("gate", "rules", 2)) == 25
    assert config_file.line_of(CONTRACT, ("gate", "rules", 99)) == 22


def test_the_schema_in_the_repository_is_current() -> None:
    assert json.loads((ROOT / "metricgate.schema.json").read_text()) == config_schema.schema(), "run `make schema`"


def test_the_schema_accepts_the_contract_s_example_and_refuses_what_the_reader_refuses() -> None:
    import ruamel.yaml

    def document(text: str) -> object:
        return json.loads(json.dumps(ruamel.yaml.YAML(typ="safe", pure=True).load(text)))

    validator = jsonschema.Draft202012Validator(config_schema.schema())
    assert validator.is_valid(document(CONTRACT))
    for wrong in (
        "max_regresion: 1\n" + METRICS,
        METRICS + "gate: {rules: [{metric: accuracy, min: 0.1, max: 0.9}]}\n",
        METRICS + "gate: {rules: [{metric: accuracy, max_regression: ten percent}]}\n",
        METRICS + "train: {run: x, timeout: 6 hours}\n",
    ):
        assert not validator.is_valid(document(wrong)), wrong


def test_aliases_that_stand_for_more_than_there_is_memory_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="aliases stand for too much"):
        config_file.loads("\n".join([*lines, "metrics: {accuracy: {direction: higher}}"]))
