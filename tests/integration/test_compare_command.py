"""`metricgate compare` from files on disk to exit code and report."""

import csv
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from metricgate import cli

N = 600
IDS = [f"example-{i}" for i in range(N)]
LABELS = [("cat", "dog", "ship")[i % 3] for i in range(N)]

POLICY = """\
name: digits
metrics:
  accuracy: {direction: higher}
gate:
  rules:
    - {metric: accuracy, max_regression: 0.02}
"""
WITH_SLICES = POLICY + "    - {metric: accuracy, slices: [label], max_regression: 0.05}\n"

Columns = Mapping[str, Sequence[object]]


class Project:
    """A folder with a configuration, runs, and the command."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys
        self.rng = np.random.default_rng(1)
        self.truth = self.rng.random(N)

    def accuracy(self, level: float, *, seed_sd: float = 0.0) -> list[int]:
        """0/1 scores of one training: mostly the same examples are hard."""
        luck = seed_sd * self.rng.standard_normal()
        return list((self.truth + 0.1 * self.rng.standard_normal(N) < level + luck).astype(int))

    def scores(self, where: str, columns: Columns) -> Path:
        file = self.root / where
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            parquet.write_table(pa.table({name: [*values] for name, values in columns.items()}), file)
        elif file.suffix == ".jsonl":
            rows = zip(*([(name, value) for value in values] for name, values in columns.items()), strict=True)
            file.write_text("".join(json.dumps(dict(row), default=int) + "\n" for row in rows), encoding="utf-8")
        else:
            with file.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
        return file

    def run(self, where: str, accuracy: Sequence[object], *, suffix: str = ".csv", **more: Sequence[object]) -> Path:
        columns = {"example_id": IDS, "label": LABELS, "accuracy": accuracy, **more}
        return self.scores(f"{where}/scores{suffix}", columns)

    def metrics(self, where: str, **metrics: object) -> Path:
        file = self.root / where / "metrics.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(metrics), encoding="utf-8")
        return file

    def compare(self, policy: str = POLICY, *more: str, baseline: str = "baseline", candidate: str = "candidate") -> "Outcome":
        file = self.root / "metricgate.yaml"
        file.write_text(policy, encoding="utf-8")
        report, page = self.root / "report.json", self.root / "report.md"
        report.unlink(missing_ok=True)
        options = ["--config", str(file), "--json", str(report), "--markdown", str(page), *more]
        code = cli.main(["compare", str(self.root / baseline), str(self.root / candidate), *options])
        out, err = self.capsys.readouterr()
        return Outcome(code, out, err, report.read_bytes() if report.exists() else b"", page)


class Outcome:
    def __init__(self, code: int, out: str, err: str, document: bytes, page: Path) -> None:
        self.code = code
        self.out = out
        self.err = err
        self.bytes = document
        self.page = page

    @property
    def report(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.bytes)
        return document

    @property
    def rules(self) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = self.report["rules"]
        return rules

    @property
    def outcomes(self) -> list[str]:
        return [rule["outcome"] for rule in self.rules]


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    return Project(tmp_path, capsys)


class TestVerdicts:
    def test_the_same_model_passes(self, project: Project) -> None:
        scores = project.accuracy(0.9)
        project.run("baseline", scores)
        project.run("candidate", scores)
        found = project.compare()
        assert (found.code, found.report["verdict"], found.outcomes) == (0, "pass", ["pass"])
        assert found.report["schema"] == "metricgate.report/1"
        assert not found.err
        assert "digits" in found.out
        assert found.page.read_text(encoding="utf-8").startswith("###")

    def test_a_regression_fails_and_says_by_how_much(self, project: Project) -> None:
        project.run("baseline", project.accuracy(0.9))
        project.run("candidate", project.accuracy(0.75))
        found = project.compare()
        assert (found.code, found.report["verdict"]) == (1, "fail")
        assert "accuracy fell by" in found.report["reasons"][0]
        (rule,) = found.rules
        assert rule["difference"] == pytest.approx(rule["candidate"] - rule["baseline"])
        assert rule["interval"]["low"] < rule["difference"] < rule["interval"]["high"] < -0.02
        assert rule["n"] == N

    @pytest.mark.parametrize(
        ("policy", "code", "verdict"), [("pass", 0, "pass"), ("warn", 0, "inconclusive"), ("fail", 3, "inconclusive")]
    )
    def test_what_cannot_be_told_is_up_to_the_policy(self, project: Project, policy: str, code: int, verdict: str) -> None:
        baseline = project.accuracy(0.9)
        project.run("baseline", baseline)
        project.run("candidate", [1 - score if i < 12 else score for i, score in enumerate(baseline)])
        found = project.compare(POLICY.replace("rules:", f"on_inconclusive: {policy}\n  rules:"))
        assert (found.code, found.report["verdict"]) == (code, verdict)
        assert found.outcomes == ["inconclusive"]
        assert found.rules[0]["mde"] > 0

    @pytest.mark.parametrize(
        ("policy", "code", "verdict"), [("pass", 0, "pass"), ("warn", 0, "not_comparable"), ("fail", 4, "not_comparable")]
    )
    @pytest.mark.parametrize("option", ["on_missing_baseline", "on_not_comparable"])
    def test_what_cannot_be_compared_too(self, project: Project, option: str, policy: str, code: int, verdict: str) -> None:
        project.run("candidate", project.accuracy(0.9))
        if option == "on_missing_baseline":
            (project.root / "baseline").mkdir()
        else:
            project.scores("baseline/scores.csv", {"example_id": IDS, "f1": project.accuracy(0.9)})
        found = project.compare(POLICY.replace("rules:", f"{option}: {policy}\n  rules:"))
        assert (found.code, found.report["verdict"]) == (code, verdict)
        assert found.report["reasons"]

    def test_the_worst_exit_code_wins(self, project: Project) -> None:
        project.run("baseline", project.accuracy(0.9))
        project.run("candidate", project.accuracy(0.7))
        policy = POLICY.replace("{direction: higher}\n", "{direction: higher}\n  f1: {direction: higher}\n")
        vanished = "    - {metric: f1, max_regression: 0.01}\n"
        assert project.compare(policy.replace("0.02", "0.9") + vanished).code == 4
        assert project.compare(policy + vanished).code == 1


class TestDegenerate:
    def test_another_test_set_is_never_a_pass(self, project: Project) -> None:
        scores = project.accuracy(0.9)
        project.run("candidate", scores)
        for ids in ([*IDS[1:], "another"], [f"x{i}" for i in range(N)], IDS[: N // 2]):
            project.scores(
                "baseline/scores.csv", {"example_id": ids, "label": LABELS[: len(ids)], "accuracy": scores[: len(ids)]}
            )
            found = project.compare()
            assert (found.code, found.outcomes) == (4, ["not_comparable"])
            assert "the test set changed" in found.report["reasons"][0]

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf", "", "wrong"])
    @pytest.mark.parametrize("side", ["baseline", "candidate"])
    def test_a_score_that_is_no_number_is_an_error_with_its_place(self, project: Project, side: str, value: str) -> None:
        scores: list[object] = [*project.accuracy(0.9)]
        project.run("baseline", scores)
        project.run("candidate", scores)
        broken = project.run(side, [*scores[:7], value, *scores[8:]])
        found = project.compare()
        assert found.code == 2
        assert str(broken) in found.err
        assert "row 8" in found.err
        assert "'accuracy'" in found.err
        assert "Traceback" not in found.err

    def test_a_repeated_id_is_an_error_with_its_place(self, project: Project) -> None:
        project.run("baseline", project.accuracy(0.9))
        broken = project.scores("candidate/scores.csv", {"example_id": [*IDS[:-1], IDS[0]], "accuracy": project.accuracy(0.9)})
        found = project.compare()
        assert found.code == 2
        assert f"{broken}:{N + 1}" in found.err

    @pytest.mark.parametrize(
        "accuracy",
        [[1] * N, [0] * N, [0.5] * N, [1e300, -1e300] * (N // 2), [1e-300, 0] * (N // 2)],
        ids=["all right", "all wrong", "constant", "huge", "tiny"],
    )
    def test_nothing_to_see_is_never_a_failure_and_never_a_traceback(self, project: Project, accuracy: Sequence[float]) -> None:
        project.run("baseline", accuracy)
        project.run("candidate", accuracy)
        found = project.compare(WITH_SLICES)
        assert found.code == 0
        assert not found.err
        assert set(found.outcomes) <= {"pass", "inconclusive"}

    def test_a_baseline_that_does_not_exist_is_wrong_use(self, project: Project) -> None:
        project.run("candidate", project.accuracy(0.9))
        found = project.compare(baseline="typo")
        assert found.code == 2
        assert "no such file" in found.err

    def test_no_candidate_is_wrong_use(self, project: Project) -> None:
        project.run("baseline", project.accuracy(0.9))
        (project.root / "candidate").mkdir()
        assert project.compare().code == 2


class TestClusters:
    def test_copies_of_an_example_are_no_new_evidence(self, project: Project) -> None:
        # Every example stands there ten times: to someone who does not know, the test set is ten times as large.
        few = N // 10
        baseline, candidate = project.accuracy(0.9)[:few], project.accuracy(0.85)[:few]
        for side, scores in (("baseline", baseline), ("candidate", candidate)):
            copies = [score for score in scores for _ in range(10)]
            passages = [i for i in range(few) for _ in range(10)]
            project.run(side, copies, passage=passages)
        naive, (clustered,) = project.compare().rules[0], project.compare(POLICY + "scores: {cluster: passage}\n").rules
        assert clustered["method"] == "paired t, clustered (clusters of examples, no known training noise)"
        assert clustered["difference"] == naive["difference"]
        assert clustered["mde"] == pytest.approx(10**0.5 * naive["mde"], rel=0.15)

    def test_a_cluster_column_that_is_not_there_is_an_error(self, project: Project) -> None:
        for side in ("baseline", "candidate"):
            project.run(side, project.accuracy(0.9))
        found = project.compare(POLICY + "scores: {cluster: passage}\n")
        assert found.code == 2
        assert "no column `passage`" in found.err

    def test_one_cluster_decides_nothing(self, project: Project) -> None:
        for side, level in (("baseline", 0.9), ("candidate", 0.5)):
            project.run(side, project.accuracy(level), passage=["p"] * N)
        found = project.compare(POLICY + "scores: {cluster: passage}\n")
        assert found.outcomes == ["inconclusive"]
        assert "all examples are in one cluster" in found.report["reasons"][0]


class TestSlices:
    def test_the_one_that_got_worse_is_named(self, project: Project) -> None:
        baseline = project.accuracy(0.9)
        project.run("baseline", baseline)
        project.run(
            "candidate",
            [0 if label == "dog" and i % 2 else s for i, (s, label) in enumerate(zip(baseline, LABELS, strict=True))],
        )
        found = project.compare(WITH_SLICES)
        assert found.code == 1
        assert {rule["slice"]: rule["outcome"] for rule in found.rules if rule["slice"]} == {
            "label=cat": "pass",
            "label=dog": "fail",
            "label=ship": "pass",
        }

    def test_one_whose_examples_vanished_blocks(self, project: Project) -> None:
        scores = project.accuracy(0.9)
        columns: Columns = {"label": LABELS, "accuracy": scores}
        project.scores("baseline/scores.csv", columns)
        project.scores("candidate/scores.csv", {**columns, "label": ["cat" if label == "dog" else label for label in LABELS]})
        found = project.compare(WITH_SLICES)
        assert found.code == 4
        assert "does not have the slice label=dog" in found.report["reasons"][0]

    def test_a_column_that_vanished_blocks(self, project: Project) -> None:
        scores = project.accuracy(0.9)
        project.run("baseline", scores)
        project.scores("candidate/scores.csv", {"example_id": IDS, "accuracy": scores})
        found = project.compare(WITH_SLICES)
        assert found.code == 4
        assert "has no column `label`" in found.report["reasons"][0]

    def test_small_ones_are_counted_and_not_tested(self, project: Project) -> None:
        labels = ["rare" if i < 30 else "common" for i in range(N)]
        scores = project.accuracy(0.9)
        for side in ("baseline", "candidate"):
            project.scores(f"{side}/scores.csv", {"example_id": IDS, "label": labels, "accuracy": scores})
        found = project.compare(WITH_SLICES)
        assert found.report["untested_slices"] == [{"metric": "accuracy", "min_n": 50, "n": 30, "slice": "label=rare"}]
        assert [rule["slice"] for rule in found.rules] == [None, "label=common"]


class TestValues:
    def test_a_single_value_is_compared_exactly(self, project: Project) -> None:
        policy = POLICY.replace("0.02", "0.01")
        project.metrics("baseline", accuracy=0.94)
        project.metrics("candidate", accuracy=0.93)
        found = project.compare(policy)
        assert (found.code, found.outcomes, found.rules[0]["interval"]["low"]) == (0, ["pass"], None)
        project.metrics("candidate", accuracy=0.9299)
        assert project.compare(policy).code == 1

    def test_a_standard_error_counts(self, project: Project) -> None:
        project.metrics("baseline", accuracy={"value": 0.94, "stderr": 0.01, "n": 600})
        project.metrics("candidate", accuracy={"value": 0.92, "stderr": 0.01, "n": 600})
        found = project.compare()
        assert found.outcomes == ["inconclusive"]
        assert found.rules[0]["method"].startswith("Welch t")

    def test_several_seeds_count(self, project: Project) -> None:
        for seed, value in enumerate((0.940, 0.941, 0.942)):
            project.metrics(f"baseline/seed-{seed}", accuracy=value)
            project.metrics(f"candidate/seed-{seed}", accuracy=value - 0.001)
        found = project.compare()
        assert found.outcomes == ["pass"]
        assert found.rules[0]["noise"] == "the training noise"
        assert found.report["candidate"]["seeds"] == [0, 1, 2]

    def test_parameters_are_compared_exactly_whatever_the_seeds(self, project: Project) -> None:
        policy = "metrics: {parameters: {direction: lower}}\ngate: {rules: [{metric: parameters, max_regression: 10%}]}\n"
        for seed in range(3):
            project.metrics(f"baseline/seed-{seed}", parameters=1_234_570)
            project.metrics(f"candidate/seed-{seed}", parameters=1_358_027)
        assert project.compare(policy).code == 0
        for seed in range(3):
            project.metrics(f"candidate/seed-{seed}", parameters=1_358_028)
        assert project.compare(policy).code == 1

    @pytest.mark.parametrize(("limit", "code"), [("0.02", 0), ("0.004", 1)])
    def test_a_loss_is_better_when_it_is_lower(self, project: Project, limit: str, code: int) -> None:
        policy = POLICY.replace("accuracy", "loss").replace("higher", "lower").replace("0.02", limit)
        project.metrics("baseline", loss=0.30)
        project.metrics("candidate", loss=0.31)
        assert project.compare(policy).code == code
        project.metrics("candidate", loss=0.20)
        assert project.compare(policy).code == 0

    def test_one_side_with_scores_and_one_without_are_compared_unpaired_and_say_so(self, project: Project) -> None:
        project.run("candidate", project.accuracy(0.9))
        project.metrics("baseline", accuracy={"value": 0.9, "stderr": 0.012, "n": N})
        (rule,) = project.compare().rules
        assert "not paired: the baseline has no score per example for it" in rule["method"]


class TestFlips:
    POLICY = POLICY.replace("max_regression: 0.02", "must_not_flip: critical")

    def test_one_protected_example_is_enough(self, project: Project) -> None:
        critical = [i < 5 for i in range(N)]
        baseline = [1] * N
        project.run("baseline", baseline, critical=critical)
        project.run("candidate", [*baseline[:-1], 0], critical=critical)
        assert project.compare(self.POLICY).code == 0
        project.run("candidate", [1, 1, 0, *baseline[3:]], critical=[False] * N)
        found = project.compare(self.POLICY)
        assert found.code == 1
        assert found.report["flips"]["worse"] == ["example-2"]

    def test_nothing_protected_is_not_comparable(self, project: Project) -> None:
        project.run("baseline", [1] * N)
        project.run("candidate", [1] * N)
        assert project.compare(self.POLICY).code == 4


class TestTrainingNoise:
    """Seeds move accuracy by 3 points, so that one run a side says little."""

    def seeds(self, project: Project, where: str, level: float, *, seeds: int = 1) -> None:
        for seed in range(seeds):
            project.run(f"{where}/seed-{seed}", project.accuracy(level, seed_sd=0.03))

    def noise(self, found: Outcome) -> str:
        return str(found.rules[0]["noise"])

    def test_without_any_source_the_interval_covers_the_test_set_and_says_so(self, project: Project) -> None:
        self.seeds(project, "baseline", 0.9)
        self.seeds(project, "candidate", 0.9)
        assert self.noise(project.compare()) == "the test set only"

    def test_several_seeds_a_side(self, project: Project) -> None:
        self.seeds(project, "baseline", 0.9, seeds=3)
        self.seeds(project, "candidate", 0.9, seeds=3)
        found = project.compare()
        assert self.noise(found) == "the test set and the training noise of 6 runs"
        assert found.rules[0]["method"] == "examples × seeds, paired (several runs a side)"

    def test_the_configuration(self, project: Project) -> None:
        self.seeds(project, "baseline", 0.9)
        self.seeds(project, "candidate", 0.9)
        wide = project.compare(WITH_SLICES + "noise: {accuracy: 0.03}\n")
        assert self.noise(wide) == "the test set and the training noise given in the configuration"
        assert wide.rules[1]["noise"].endswith("given in the configuration for all examples")
        narrow = project.compare(WITH_SLICES)
        assert wide.rules[0]["mde"] > 1.5 * narrow.rules[0]["mde"]

    LAYOUTS: Mapping[str, str] = {
        "a folder for each commit with one for each seed": "history/commit-{commit}/seed-{seed}",
        "the same, one level deeper": "history/main/commit-{commit}/seed-{seed}",
    }

    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
    def test_recorded_commits(self, project: Project, layout: str, suffix: str) -> None:
        self.seeds(project, "baseline", 0.9)
        self.seeds(project, "candidate", 0.9)
        for commit in range(3):
            for seed in range(2):
                scores = project.accuracy(0.9, seed_sd=0.03)
                project.run(layout.format(commit=commit, seed=seed), scores, suffix=suffix)
        found = project.compare(WITH_SLICES, "--history", str(project.root / "history"))
        assert self.noise(found) == "the test set and the training noise of 3 recorded commits"
        assert "recorded commits" in found.rules[1]["noise"]

    def test_a_plain_folder_of_runs_counts_as_one_commit(self, project: Project) -> None:
        self.seeds(project, "baseline", 0.9)
        self.seeds(project, "candidate", 0.9)
        for k in range(4):
            project.run(f"history/run-{k}", project.accuracy(0.9, seed_sd=0.03))
        found = project.compare(POLICY, "--history", str(project.root / "history"))
        assert self.noise(found) == "the test set and the training noise of 1 recorded commit"

    def test_single_runs_of_successive_commits(self, project: Project) -> None:
        self.seeds(project, "baseline", 0.9)
        self.seeds(project, "candidate", 0.9)
        for k, value in enumerate((0.90, 0.92, 0.88, 0.91, 0.93, 0.90)):
            project.metrics(f"history/commit-{k}/seed-0", accuracy=value)
        found = project.compare(POLICY, "--history", str(project.root / "history"))
        assert self.noise(found) == "the test set and the training noise of 6 successive single runs"

    def test_a_history_that_holds_the_baseline_itself_counts_it_once(self, project: Project) -> None:
        self.seeds(project, "main/commit-0", 0.9, seeds=2)
        self.seeds(project, "main/commit-1", 0.9, seeds=2)
        self.seeds(project, "candidate", 0.9)
        found = project.compare(POLICY, "--history", str(project.root / "main"), baseline="main/commit-1")
        assert self.noise(found) == "the test set and the training noise of 2 runs and 1 recorded commit"

    @pytest.mark.parametrize(
        "columns", [("example_id", "accuracy"), ("label", "accuracy"), ("accuracy",)], ids=["no label", "no ids", "neither"]
    )
    @pytest.mark.parametrize("rows", [N, 100])
    def test_a_history_of_another_kind_never_breaks_the_comparison(
        self, project: Project, columns: tuple[str, ...], rows: int
    ) -> None:
        self.seeds(project, "baseline", 0.9)
        self.seeds(project, "candidate", 0.9)
        for commit in range(2):
            for seed in range(2):
                everything: Columns = {"example_id": IDS, "label": LABELS, "accuracy": project.accuracy(0.9, seed_sd=0.03)}
                project.scores(f"history/{commit}/seed-{seed}/scores.csv", {name: everything[name][:rows] for name in columns})
        found = project.compare(WITH_SLICES, "--history", str(project.root / "history"))
        assert found.code in {0, 1}
        assert ("recorded commits" in self.noise(found)) == (rows == N)
        assert bool(found.report["warnings"]) == (rows != N)

    def test_seeds_that_nothing_reads_are_one_run(self, project: Project) -> None:
        self.seeds(project, "baseline", 0.9)
        scores = project.accuracy(0.9)
        for seed in range(3):
            project.run(f"candidate/seed-{seed}", scores)
        found = project.compare()
        assert found.report["candidate"]["runs"] == 1
        assert "does not read METRICGATE_SEED" in found.report["warnings"][0]


class TestTheSameInputs:
    @pytest.fixture
    def trained(self, project: Project) -> Project:
        for side, level in (("baseline", 0.9), ("candidate", 0.87)):
            for seed in range(3):
                project.run(
                    f"{side}/seed-{seed}", project.accuracy(level, seed_sd=0.02), confidence=list(project.rng.random(N))
                )
        for commit in range(2):
            for seed in range(2):
                project.run(
                    f"history/{commit}/seed-{seed}", project.accuracy(0.9, seed_sd=0.02), confidence=list(project.rng.random(N))
                )
        return project

    POLICY = """\
metrics: {accuracy: {direction: higher}, confidence: {direction: higher}}
gate:
  rules:
    - {metric: accuracy, max_regression: 0.01}
    - {metric: confidence, max_regression: 5%}
    - {metric: accuracy, slices: [label], max_regression: 0.03}
"""

    def compare(self, project: Project) -> Outcome:
        return project.compare(self.POLICY, "--history", str(project.root / "history"))

    def test_make_the_same_bytes(self, trained: Project) -> None:
        first = self.compare(trained)
        page = first.page.read_bytes()
        again = self.compare(trained)
        assert again.bytes == first.bytes
        assert again.page.read_bytes() == page

    def test_make_the_same_bytes_in_another_process_with_another_hash_seed(self, trained: Project) -> None:
        first = self.compare(trained)
        copy = trained.root / "again.json"
        arguments = ["baseline", "candidate", "--config", "metricgate.yaml", "--history", "history", "--json", str(copy)]
        finished = subprocess.run(
            [sys.executable, "-m", "metricgate", "compare", *arguments],
            cwd=trained.root,
            env={"PYTHONHASHSEED": "7", "HOME": str(trained.root)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert finished.returncode == first.code, finished.stderr
        assert copy.read_bytes() == first.bytes

    def shuffle_rows(self, root: Path) -> None:
        shuffled = random.Random(5)
        for file in sorted(root.rglob("scores.csv")):
            head, *rows = file.read_text(encoding="utf-8").splitlines()
            shuffled.shuffle(rows)
            file.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")

    def to_parquet(self, root: Path) -> None:
        for file in sorted(root.rglob("scores.csv")):
            with file.open(encoding="utf-8", newline="") as stream:
                rows = [*csv.DictReader(stream)]
            kinds: dict[str, Callable[[str], object]] = {"accuracy": int, "confidence": float}
            columns = {name: [kinds.get(name, str)(row[name]) for row in rows] for name in rows[0]}
            parquet.write_table(pa.table(columns), file.with_suffix(".parquet"))
            file.unlink()

    def rename_seeds(self, root: Path) -> None:
        for side in ("baseline", "candidate"):
            for seed in (2, 1, 0):
                shutil.move(root / side / f"seed-{seed}", root / side / f"training {9 - seed}")

    @pytest.mark.parametrize("change", [shuffle_rows, to_parquet, rename_seeds], ids=["rows", "format", "folders"])
    def test_in_another_order_or_format_make_the_same_verdict(
        self, trained: Project, change: Callable[["TestTheSameInputs", Path], None]
    ) -> None:
        first = self.compare(trained)
        change(self, trained.root)
        again = self.compare(trained)
        assert again.code == first.code
        assert again.report["reasons"] == first.report["reasons"]
        assert sorted(again.report["flips"]["worse"]) == sorted(first.report["flips"]["worse"])
        for one, other in zip(first.rules, again.rules, strict=True):
            assert one["outcome"] == other["outcome"]
            assert one["slice"] == other["slice"]
            for number in ("difference", "p_value", "p_adjusted", "mde"):
                assert other[number] == pytest.approx(one[number], rel=1e-6)
