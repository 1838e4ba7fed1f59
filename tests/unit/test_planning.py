"""``metricgate power``: what a condition, a limit or a report needs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from metricgate import cli
from metricgate.errors import ExitCode
from metricgate.report import document
from metricgate.report.document import IntervalInfo, Report, RuleInfo, SideInfo, VarianceInfo

CONDITION = "n - o > 0.02 +/- 0.01"


def power(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, err = said(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = cli.main(["power", *arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class TestACondition:
    def test_the_paper_s_numbers_and_the_gate_s_beside_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        labels = power(capsys, "--reliability", "0.9999", "--adaptivity", "full", CONDITION, "--discordance", "0.1")["labels"]
        assert labels["split"] == 641_684
        assert labels["bennett"] == 67_706
        assert labels["bennett_a_commit"] == 2_189
        assert labels["joint"] < labels["split"]
        assert labels["bennett_one_sided"] < labels["bennett"]
        # The same promise by a test needs less than any bound, and the gate's own promise, verdict by verdict, far less.
        assert labels["test_each_verdict"] * 5 < labels["test_same_promise"] < labels["bennett_one_sided"]

    def test_a_clause_on_d_brings_bennett_and_needs_no_labels(self, capsys: pytest.CaptureFixture[str]) -> None:
        known = power(capsys, "--reliability", "0.9999", "--adaptivity", "none", rf"d < 0.1 /\ {CONDITION}")
        assert known["labels"]["bennett"] == 29_048
        assert "unlabelled" not in known
        tested = power(capsys, "--reliability", "0.9999", "--adaptivity", "none", rf"d < 0.1 +/- 0.01 /\ {CONDITION}")
        assert tested["discordance"] == pytest.approx(0.12)
        assert tested["unlabelled"] > 0
        assert tested["labels"]["bennett"] > 29_048

    def test_the_other_way_round_how_many_verdicts_examples_last(self, capsys: pytest.CaptureFixture[str]) -> None:
        options = ("--reliability", "0.9999", "--adaptivity", "full", "--discordance", "0.1", CONDITION)
        assert power(capsys, "--examples", "67706", *options)["verdicts"]["bennett"] == 32
        assert power(capsys, "--examples", "67705", *options)["verdicts"]["bennett"] == 31
        assert power(capsys, "--examples", "10", *options)["verdicts"]["bennett"] == 0

    def test_for_people_the_assumption_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = said(capsys, CONDITION)
        assert code == 0
        assert out.startswith(CONDITION)
        assert "10% of the answers are assumed to differ" in out
        assert "assumed" not in said(capsys, CONDITION, "--discordance", "0.2")[1]


class TestAPlan:
    def test_the_sample_size_of_the_literature(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = power(capsys, "--effect", "0.03", "--sd", "0.3333333333333333", "--two-sided")
        assert found["examples_needed"] == 969

    def test_training_noise_can_make_any_number_of_examples_too_few(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = power(capsys, "--effect", "0.01", "--discordance", "0.08", "--noise", "0.006", "--runs", "3")
        assert found["examples_needed"] is None
        by_runs = {row["runs"]: row["examples"] for row in found["table"]}
        assert by_runs[3] is None
        assert by_runs[5] > by_runs[10] > 0
        assert "never" in said(capsys, "--effect", "0.01", "--discordance", "0.08", "--noise", "0.006")[1]

    def test_the_configuration_fills_in_what_was_not_typed(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        config = tmp_path / "metricgate.yaml"
        config.write_text(
            "train: {run: 'true', seeds: [0, 1, 2, 3, 4]}\n"
            "metrics: {accuracy: {direction: higher}}\n"
            "noise: {accuracy: 0.002}\n"
            "gate: {alpha: 0.01, power: 0.9, rules: [{metric: accuracy, max_regression: 0.02}]}\n"
        )
        found = power(capsys, "--config", str(config), "--metric", "accuracy", "--discordance", "0.1")
        known = {"effect": 0.02, "noise": 0.002, "alpha": 0.01, "power": 0.9, "runs": 5}
        assert {key: found[key] for key in known} == known
        code, _, err = said(capsys, "--config", str(config), "--metric", "acuracy", "--discordance", "0.1")
        assert code == ExitCode.USAGE
        assert "accuracy" in err


class TestAReport:
    @pytest.fixture
    def report(self, tmp_path: Path) -> Path:
        rule = RuleInfo(
            metric="accuracy",
            kind="max_regression",
            limit=0.01,
            direction="higher",
            baseline=0.96,
            candidate=0.95,
            interval=IntervalInfo(low=-0.03, high=0.01, level=0.95),
            mde=0.02,
            n=1000,
            outcome="inconclusive",
            variance=VarianceInfo(examples=4e-5, training=3e-5, counted_twice=1e-5),
        )
        sides = SideInfo(runs=4, seeds=(0, 1, 2, 3))
        exact = rule.model_copy(update={"metric": "parameters", "mde": None})
        file = tmp_path / "report.json"
        whole = Report(verdict="inconclusive", exit_code=0, baseline=sides, candidate=sides, rules=(rule, exact))
        file.write_text(document.to_json(whole))
        return file

    def test_the_variance_is_that_which_was_measured(self, report: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (found,) = power(capsys, "--from", str(report))
        assert found["variance"] == pytest.approx(1000 * 4e-5)
        assert found["noise"] == pytest.approx((2e-5 / (1 / 4 + 1 / 4)) ** 0.5)
        assert found["effect"] == 0.01
        assert (found["examples"], found["runs"]) == (1000, 4)
        # At four runs a side training alone leaves a variance of 2e-5, more than an effect of a point allows.
        assert found["examples_needed"] is None
        assert found["runs_needed"] is None

    def test_an_effect_of_one_s_own(self, report: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (found,) = power(capsys, "--from", str(report), "--effect", "0.02")
        assert found["examples_needed"] > 0
        assert found["runs_needed"] > 0

    def test_without_parts_the_effect_that_was_seen_tells_the_variance(
        self, report: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = document.read(report)
        bare = told.model_copy(update={"rules": (told.rules[0].model_copy(update={"variance": None}),)})
        report.write_text(document.to_json(bare))
        (found,) = power(capsys, "--from", str(report), "--effect", "0.02")
        assert found["examples_needed"] == pytest.approx(1000, abs=1)  # the effect of today, with the examples of today
        assert found["noise"] is None

    def test_what_is_not_in_it_is_said(self, report: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = said(capsys, "--from", str(report), "--metric", "loss")
        assert code == ExitCode.USAGE
        assert "accuracy, parameters" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no effect"),
        (["--effect", "0.01"], "not known"),
        (["--effect", "0"], "above 0"),
        (["--effect", "nan"], "above 0"),
        (["--discordance", "1.5"], "between 0 and 1"),
        (["--reliability", "1", CONDITION], "between 0 and 1"),
        (["--verdicts", "0", CONDITION], "1 or more"),
        (["--verdicts", "3", "--examples", "3", CONDITION], "not allowed with"),
        (["--effect", "0.01", CONDITION], "can't stand with a condition"),
        (["--verdicts", "3"], "needs a condition"),
        (["--effect", "0.01", "--sd", "1", "--power", "0.3"], "0.5 or more"),
        (["d < 0.1 +/- 0.01"], "no clause needs labels"),
        (["--from", "nowhere.json"], "can't be read"),
    ],
)
def test_wrong_use_says_what_was_expected(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, *arguments)
    assert code == ExitCode.USAGE
    assert not out
    assert told in err


README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("shown", re.findall(r"```console\n\$ metricgate (power .*?)```", README, flags=re.DOTALL))
def test_the_readme_shows_what_is_printed(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, output = shown.partition("\n")
    assert cli.main(shlex.split(command)) == 0
    assert capsys.readouterr().out == output


def test_the_readme_shows_something() -> None:
    assert README.count("\n$ metricgate power") == 2
