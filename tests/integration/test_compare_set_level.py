"""`metricgate compare` of metrics that are computed from labels and predictions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn import metrics as sklearn

from metricgate import cli

N = 2_000

POLICY = """\
name: spam
metrics:
  auc: {direction: higher, aggregate: roc_auc, prediction: score, positive: spam}
  f1: {direction: higher, aggregate: f1, positive: spam}
gate:
  rules:
    - {metric: auc, max_regression: 0.03}
    - {metric: f1, max_regression: 5%}
    - {metric: f1, slices: [language], max_regression: 0.1}
"""

WITH_A_FUNCTION = """\
name: spam
metrics:
  cost: {direction: lower, aggregate: "own_shop_metrics:cost"}
gate:
  rules:
    - {metric: cost, max_regression: 0.1}
"""

FUNCTION = """
def cost(label, prediction, weight):
    missed, disturbed = (label == "spam") & (prediction == "ham"), (label == "ham") & (prediction == "spam")
    return float((weight * (missed + 5 * disturbed)).sum() / weight.sum())
"""


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(1)
        self.spam = self.rng.random(N) < 0.3
        self.shared = 1.5 * self.spam + self.rng.standard_normal(N)

    def run(self, where: str, *, noise: float) -> Mapping[str, Any]:
        score = self.shared + noise * self.rng.standard_normal(N)
        columns = {
            "example_id": np.arange(N),
            "language": np.array(["de", "en"])[np.arange(N) % 2],
            "label": np.where(self.spam, "spam", "ham"),
            "score": score,
            "prediction": np.where(score > 0.8, "spam", "ham"),
        }
        folder = self.root / where
        folder.mkdir(parents=True)
        parquet.write_table(pa.table(columns), folder / "scores.parquet")
        return columns

    def compare(self, policy: str = POLICY) -> tuple[int, dict[str, Any], bytes]:
        (self.root / "metricgate.yaml").write_text(policy, encoding="utf-8")
        report = self.root / "report.json"
        options = ["--config", str(self.root / "metricgate.yaml"), "--json", str(report)]
        code = cli.main(["compare", str(self.root / "baseline"), str(self.root / "candidate"), *options])
        return code, json.loads(report.read_bytes()), report.read_bytes()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return Project(tmp_path)


def test_a_model_that_is_as_good_passes(project: Project) -> None:
    baseline, candidate = project.run("baseline", noise=0.2), project.run("candidate", noise=0.2)
    code, report, _ = project.compare()
    assert (code, report["verdict"]) == (0, "pass")
    auc, f1, *slices = report["rules"]
    for side, columns in (("baseline", baseline), ("candidate", candidate)):
        spam = columns["label"] == "spam"
        assert auc[side] == pytest.approx(sklearn.roc_auc_score(spam, columns["score"]))
        assert f1[side] == pytest.approx(sklearn.f1_score(columns["label"], columns["prediction"], pos_label="spam"))
    assert auc["method"] == "DeLong (the area under the ROC curve, one run a side)"
    assert f1["method"] == "BCa bootstrap, 10,000 resamples (a metric of the whole test set, one run a side)"
    assert [rule["slice"] for rule in slices] == ["language=de", "language=en"]
    assert auc["interval"]["low"] < auc["difference"] < auc["interval"]["high"]


def test_a_model_that_is_worse_fails(project: Project) -> None:
    project.run("baseline", noise=0.1)
    project.run("candidate", noise=2.0)
    code, report, _ = project.compare()
    assert code == 1
    assert [rule["outcome"] for rule in report["rules"]] == ["fail"] * 4
    assert any("auc fell by" in reason for reason in report["reasons"])


def test_several_seeds_make_the_training_noise_known(project: Project) -> None:
    for seed in range(3):
        project.run(f"baseline/seed-{seed}", noise=0.3)
        project.run(f"candidate/seed-{seed}", noise=0.3)
    code, report, _ = project.compare()
    assert code == 0
    assert all("training noise of 6 runs" in rule["noise"] for rule in report["rules"])
    assert all("influence values" in rule["method"] for rule in report["rules"])


def test_the_same_runs_make_the_same_report_to_the_byte(project: Project) -> None:
    project.run("baseline", noise=0.2)
    project.run("candidate", noise=0.4)
    assert project.compare()[2] == project.compare()[2]


def test_a_function_beside_the_configuration_is_found_on_a_laptop(project: Project) -> None:
    project.run("baseline", noise=0.2)
    project.run("candidate", noise=0.2)
    (project.root / "own_shop_metrics.py").write_text(FUNCTION, encoding="utf-8")
    code, report, _ = project.compare(WITH_A_FUNCTION)
    assert (code, report["verdict"]) == (0, "pass")
    assert report["rules"][0]["method"].startswith("BCa bootstrap, 2,000 resamples")


def test_and_is_not_on_a_runner(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.chdir(project.root)
    project.run("baseline", noise=0.2)
    project.run("candidate", noise=0.2)
    (project.root / "own_shop_metrics.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    (project.root / "metricgate.yaml").write_text(WITH_A_FUNCTION, encoding="utf-8")
    sides = [str(project.root / side) for side in ("baseline", "candidate")]
    assert cli.main(["compare", *sides, "--config", str(project.root / "metricgate.yaml")]) == 2
    assert "own_shop_metrics is not a package that is installed for metricgate" in capsys.readouterr().err
