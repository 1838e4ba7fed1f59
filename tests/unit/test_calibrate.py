"""One commit against itself: how noisy its training is, and how often the policy would have blocked it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metricgate import cli, config_file, formats
from metricgate.config import Config
from metricgate.errors import ExitCode, UsageError
from metricgate.planning import calibrating, calibration
from metricgate.stats.spread import sd_interval

N = 400


def config(*, seeds: int = 1, limit: float = 0.01) -> Config:
    return config_file.loads(
        "name: digits\n"
        f"train: {{run: 'true', seeds: {list(range(seeds))}}}\n"
        "metrics: {accuracy: {direction: higher}, size: {direction: lower}}\n"
        "slices: [label]\n"
        f"gate: {{rules: [{{metric: accuracy, max_regression: {limit}}}]}}\n"
    )


def write(folder: Path, *, runs: int, noise: float, commit: str = "a" * 40) -> Path:
    """Runs of one commit whose accuracy differs by the noise of training."""
    rng = np.random.default_rng(5)
    easiness = rng.random(N)
    for seed in range(runs):
        place = folder / f"seed-{seed}"
        place.mkdir(parents=True)
        right = easiness < 0.9 + rng.normal(0, noise)
        rows = "".join(f"e{i},{i % 2},{int(score)}\n" for i, score in enumerate(right))
        (place / "scores.csv").write_text(f"example_id,label,accuracy\n{rows}")
        accuracy = float(right.mean())
        (place / "metrics.json").write_text(json.dumps({"accuracy": accuracy, "size": 1000.0}))
        stated = {"accuracy": {"value": accuracy}, "size": {"value": 1000.0}}
        record = {"schema": "metricgate.run/1", "name": "digits", "commit": commit, "seed": seed, "metrics": stated}
        (place / "run.json").write_text(json.dumps(record))
    return folder


def calibrated(folder: Path, **settings: Any) -> calibration.Calibration:
    return calibration.calibrate(formats.read_runs(folder, id="example_id"), config=config(**settings))


class TestNoise:
    def test_it_is_the_standard_deviation_over_seeds(self, tmp_path: Path) -> None:
        told = calibrated(write(tmp_path, runs=6, noise=0.02))
        values = [json.loads((tmp_path / f"seed-{k}" / "metrics.json").read_text())["accuracy"] for k in range(6)]
        accuracy = told.noise[0]
        assert (accuracy.metric, accuracy.slice, accuracy.n) == ("accuracy", None, N)
        assert accuracy.sd == pytest.approx(np.std(values, ddof=1), rel=1e-10)
        assert accuracy.interval.low < accuracy.sd < accuracy.interval.high

    def test_slices_and_metrics_without_scores_have_theirs(self, tmp_path: Path) -> None:
        told = calibrated(write(tmp_path, runs=4, noise=0.02))
        assert [(noise.metric, noise.slice) for noise in told.noise] == [
            ("accuracy", None),
            ("accuracy", "label=0"),
            ("accuracy", "label=1"),
            ("size", None),
        ]
        assert told.noise[-1].sd == 0

    def test_the_line_is_what_a_configuration_takes(self, tmp_path: Path) -> None:
        told = calibrated(write(tmp_path, runs=4, noise=0.02))
        read = config_file.loads(f"metrics: {{accuracy: {{direction: higher}}}}\n{calibrating.line(told)}\n")
        assert read.noise["accuracy"] == pytest.approx(told.noise[0].sd, rel=0.05)

    def test_the_interval_of_a_standard_deviation_covers_as_it_says(self) -> None:
        rng = np.random.default_rng(3)
        found = np.std(rng.standard_normal((4000, 5)), axis=1, ddof=1)
        covered = [low <= 1 <= high for low, high, _ in (sd_interval(float(sd), df=4, level=0.95) for sd in found)]
        assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


class TestFalseBlocks:
    def test_a_commit_is_hardly_ever_blocked_against_itself_by_seeds_and_often_by_a_threshold(self, tmp_path: Path) -> None:
        told = calibrated(write(tmp_path, runs=6, noise=0.03), seeds=3)
        rates = {way.key: way.count / way.pairs for way in told.blocked}
        assert (told.runs, told.a_side, told.disjoint) == (6, 3, 1)
        assert {way.pairs for way in told.blocked} == {20}
        assert rates["any_drop"] == pytest.approx(0.5, abs=0.051)  # one of two ordered pairs, unless they are equal
        assert rates["policy"] <= 0.1 < rates["beyond_limit"] <= rates["any_drop"]

    def test_the_other_runs_count_as_recorded_ones_where_there_are_some(self, tmp_path: Path) -> None:
        told = calibrated(write(tmp_path, runs=5, noise=0.03), seeds=1)
        assert told.a_side == 1
        rates = {way.key: way.count / way.pairs for way in told.blocked}
        assert rates["policy_with_history"] <= rates["policy"]

    def test_with_too_few_runs_for_the_policy_s_seeds_a_side_has_half_of_them(self, tmp_path: Path) -> None:
        assert calibrated(write(tmp_path, runs=5, noise=0.02), seeds=3).a_side == 2

    def test_all_pairs_or_always_the_same_choice_of_them(self) -> None:
        assert len(list(calibration.splits(6, 3))) == 20
        many = list(calibration.splits(40, 3))
        assert len(many) == len(set(many)) == calibration.MOST_PAIRS
        assert many == list(calibration.splits(40, 3))
        assert all(not {*one} & {*other} for one, other in many)


class TestWhatIsRefused:
    def test_one_run(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="1 run"):
            calibrated(write(tmp_path, runs=1, noise=0.1))

    def test_runs_of_several_commits(self, tmp_path: Path) -> None:
        write(tmp_path / "one", runs=2, noise=0.1)
        write(tmp_path / "two", runs=2, noise=0.1, commit="b" * 40)
        with pytest.raises(UsageError, match="2 commits"):
            calibrated(tmp_path)


class TestTheCommand:
    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        file = tmp_path / "metricgate.yaml"
        file.write_text("name: digits\nmetrics: {accuracy: {direction: higher}}\nbaseline: {store: recorded}\n")
        return file

    def test_for_people(self, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        runs = write(tmp_path / "runs", runs=4, noise=0.02)
        assert cli.main(["calibrate", "--config", str(project), "--runs", str(runs)]) == ExitCode.PASSED
        out = capsys.readouterr().out
        assert out.startswith("digits at aaaaaaa: 4 runs (seeds 0, 1, 2, 3)\n")
        assert "\nnoise: {accuracy: 0.0" in out
        assert "The pairs share runs: only 2 pairs would have none in common" in out

    def test_as_json_the_same_bytes_each_time(self, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        runs = write(tmp_path / "runs", runs=4, noise=0.02)
        said = []
        for _ in range(2):
            cli.main(["calibrate", "--config", str(project), "--runs", str(runs), "--json"])
            said.append(capsys.readouterr().out)
        assert said[0] == said[1]
        document = json.loads(said[0])
        assert document["schema"] == "metricgate.calibration/1"
        assert document["blocked"]["policy"]["pairs"] == 12
        assert 0 <= document["blocked"]["policy"]["interval"]["low"] <= document["blocked"]["policy"]["rate"]

    def test_the_runs_can_be_recorded(self, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        runs = write(tmp_path / "runs", runs=2, noise=0.02)
        cli.main(["calibrate", "--config", str(project), "--runs", str(runs), "--record"])
        assert "recorded 2 runs of aaaaaaa" in capsys.readouterr().err
        assert list((tmp_path / "recorded").rglob("scores.*"))

    def test_seeds_may_be_a_range(self, capsys: pytest.CaptureFixture[str]) -> None:
        from metricgate import command_line

        assert command_line.parser().parse_args(["calibrate", "--seeds", "0-2,7"]).seeds == (0, 1, 2, 7)
        for wrong in ("2-0", "0-", "a-b", "0-1,1"):
            with pytest.raises(SystemExit):
                command_line.parser().parse_args(["calibrate", "--seeds", wrong])
            assert "0-4" in capsys.readouterr().err
