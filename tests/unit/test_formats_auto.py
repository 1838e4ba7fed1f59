"""What is found under a path: one run or several, in which format, and when it is refused."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import formats
from metricgate import run as runs
from metricgate.errors import ExitCode, InputError, MetricgateError, UsageError
from metricgate.run import Fingerprints, Metric, MetricRecord, Run, RunRecord

SCORES = "example_id,accuracy\na,1\nb,0\n"
NAMES = ["metrics.json", "scores.csv", "scores.jsonl", "scores.parquet", "run.json", "training.csv", "history.json"]
REPORT = {
    name: {"precision": 1.0, "recall": 1.0, "f1-score": 1.0, "support": 2.0} for name in ("0", "macro avg", "weighted avg")
}


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def write_run(folder: Path, *, accuracy: float = 0.5, seed: int | None = 0, stage: str = "evaluated") -> Path:
    record = RunRecord.model_validate(
        {"stage": stage, "seed": seed, "commit": "c0ffee", "metrics": {"accuracy": {"value": accuracy}}}
    )
    runs.write_record(folder, record)
    return folder


def read(path: Path) -> tuple[Run, ...]:
    return formats.read_runs(path, id="example_id")


class TestOneRun:
    def test_a_run_of_metricgate(self, tmp_path: Path) -> None:
        write_run(tmp_path, accuracy=0.5, seed=3)
        write(tmp_path / "metrics.json", {"accuracy": 0.5})
        write(tmp_path / "scores.csv", SCORES)
        write(tmp_path / "train.log", "epoch 1")
        write(tmp_path / "model" / "config.json", {})
        (run,) = read(tmp_path)
        assert run.metrics == {"accuracy": Metric(0.5)}
        assert (run.record.seed, run.record.commit, run.where) == (3, "c0ffee", tmp_path)
        assert run.scores is not None
        assert run.scores.n == 2

    def test_a_folder_with_scores_only(self, tmp_path: Path) -> None:
        write(tmp_path / "scores.jsonl", '{"example_id": "a", "accuracy": true}\n')
        (run,) = read(tmp_path)
        assert run.metrics == {}
        assert run.scores is not None
        assert run.scores.has_ids

    def test_a_folder_with_metrics_only(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.json", {"accuracy": 0.5})
        (run,) = read(tmp_path)
        assert run.metrics == {"accuracy": Metric(0.5)}
        assert run.scores is None

    def test_a_table_without_the_id_column_is_read_and_knows(self, tmp_path: Path) -> None:
        write(tmp_path / "scores.csv", "accuracy\n1\n0\n")
        (run,) = read(tmp_path)
        assert run.scores is not None
        assert not run.scores.has_ids

    @pytest.mark.parametrize(
        ("name", "content", "metric"),
        [
            ("metrics.json", {"accuracy": 0.5}, "accuracy"),
            ("result.json", {"accuracy": {"value": 0.5}}, "accuracy"),
            ("history.json", {"accuracy": [0.1, 0.5]}, "accuracy"),
            ("training.csv", "epoch,accuracy\n0,0.1\n1,0.5\n", "accuracy"),
            ("report.json", REPORT | {"accuracy": 0.5}, "accuracy"),
            ("metrics.json", {"train": {"accuracy": 0.5}, "step": 4}, "train/accuracy"),
        ],
    )
    @pytest.mark.parametrize("given_as", ["file", "folder"])
    def test_a_file_of_any_format_alone_or_in_a_folder(
        self, name: str, content: object, metric: str, given_as: str, tmp_path: Path
    ) -> None:
        file = write(tmp_path / name, content)
        (run,) = read(file if given_as == "file" else tmp_path)
        assert run.metrics[metric].value == 0.5

    def test_a_csv_file_of_any_name_is_a_score_table(self, tmp_path: Path) -> None:
        (run,) = read(write(tmp_path / "predictions.csv", SCORES))
        assert run.scores is not None
        assert run.scores.n == 2

    def test_a_score_table_may_have_a_column_named_epoch(self, tmp_path: Path) -> None:
        (run,) = read(write(tmp_path / "scores.csv", "epoch,example_id,accuracy\n3,a,1\n"))
        assert run.scores is not None

    def test_a_folder_of_dvclive(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.json", {"accuracy": 0.5, "note": "no metric", "step": 2})
        write(tmp_path / "plots" / "metrics" / "accuracy.tsv", "step\taccuracy\n2\t0.5\n")
        (run,) = read(tmp_path)
        assert run.metrics == {"accuracy": Metric(0.5)}

    def test_a_path_with_spaces_and_wildcards(self, tmp_path: Path) -> None:
        (run,) = read(write(tmp_path / "my [run] *?" / "scores.csv", SCORES).parent)
        assert run.scores is not None
        assert run.scores.scores("accuracy").tolist() == [1.0, 0.0]


class TestSeveralRuns:
    def test_they_come_by_seed(self, tmp_path: Path) -> None:
        for seed in (10, 9, 2):
            write_run(tmp_path / f"seed-{seed}", seed=seed, accuracy=seed / 100)
        assert [run.record.seed for run in read(tmp_path)] == [2, 9, 10]

    def test_the_seed_of_a_foreign_run_is_in_its_folder_name(self, tmp_path: Path) -> None:
        for seed in (10, 9):
            write(tmp_path / f"seed-{seed}" / "metrics.json", {"accuracy": 0.5})
        assert [run.record.seed for run in read(tmp_path)] == [9, 10]

    @given(folders=st.sets(st.from_regex(r"[a-z]{1,3}[0-9]{0,3}", fullmatch=True), min_size=1, max_size=6))
    def test_the_order_is_always_the_same_and_counts_numbers(
        self, folders: set[str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        root = tmp_path_factory.mktemp("runs")
        for name in folders:
            write(root / name / "metrics.json", {"accuracy": 0.5})
        found = [run.where.name for run in read(root)]
        assert found == [run.where.name for run in read(root)]
        assert set(found) == folders
        assert [name for name in found if name.rstrip("0123456789") == "a"] == sorted(
            (name for name in folders if name.rstrip("0123456789") == "a"), key=lambda name: int(name[1:] or -1)
        )

    def test_a_history_has_a_folder_per_commit(self, tmp_path: Path) -> None:
        for commit in ("aaa", "bbb"):
            for seed in (0, 1):
                write_run(tmp_path / commit / f"seed-{seed}", seed=seed)
        found = [run.where.relative_to(tmp_path).as_posix() for run in read(tmp_path)]
        assert found == ["aaa/seed-0", "bbb/seed-0", "aaa/seed-1", "bbb/seed-1"]

    def test_hidden_folders_and_reports_beside_the_runs_are_no_runs(self, tmp_path: Path) -> None:
        write_run(tmp_path / "seed-0")
        write_run(tmp_path / ".checkpoints" / "seed-0")
        write(tmp_path / "report.json", {"schema": "metricgate.report/1"})
        write(tmp_path / "plots" / "curve.png", "")
        assert len(read(tmp_path)) == 1

    def test_mlflow_experiments_are_folders_of_runs(self, tmp_path: Path) -> None:
        write(tmp_path / "1" / "meta.yaml", "experiment_id: '1'\nname: digits\n")
        for number in ("7", "11"):
            write(tmp_path / "1" / f"run{number}" / "meta.yaml", "status: 3\n")
            write(tmp_path / "1" / f"run{number}" / "params" / "seed", number)
            write(tmp_path / "1" / f"run{number}" / "metrics" / "accuracy", "1000 0.5 0\n")
        assert [run.record.seed for run in read(tmp_path)] == [7, 11]


class TestRefused:
    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such file") as raised:
            read(tmp_path / "missing")
        assert raised.value.exit_code == ExitCode.USAGE

    def test_an_empty_folder_has_no_runs(self, tmp_path: Path) -> None:
        (tmp_path / "nested" / "deeper").mkdir(parents=True)
        write(tmp_path / ".gitkeep", "")
        assert read(tmp_path) == ()

    def test_files_that_no_format_explains(self, tmp_path: Path) -> None:
        write(tmp_path / "notes.txt", "accuracy was fine")
        with pytest.raises(InputError, match=r"no run in this folder \(it has notes.txt\)") as raised:
            read(tmp_path)
        for name in formats.UNDERSTOOD:
            assert name in str(raised.value)

    @pytest.mark.parametrize("name", ["model.pkl", "weights.h5", "metrics.yaml", "metrics"])
    def test_a_file_that_no_format_explains(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="not understood"):
            read(write(tmp_path / name, "{}"))

    @pytest.mark.parametrize("content", [["a"], {"a": "text"}, {"a": [1], "b": 2}, {}, 3, "null"])
    def test_json_that_no_format_explains(self, content: object, tmp_path: Path) -> None:
        with pytest.raises(InputError):
            read(write(tmp_path / "result.json", content))

    def test_a_report_of_metricgate_is_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"this is a metricgate\.report/1 document"):
            read(write(tmp_path / "report.json", {"schema": "metricgate.report/1"}))

    def test_two_score_tables(self, tmp_path: Path) -> None:
        write(tmp_path / "scores.csv", SCORES)
        write(tmp_path / "scores.jsonl", '{"example_id": "a", "accuracy": 1}\n')
        with pytest.raises(InputError, match=r"scores.csv and scores.jsonl"):
            read(tmp_path)

    def test_several_files_of_which_none_is_the_run(self, tmp_path: Path) -> None:
        write(tmp_path / "a.json", {"accuracy": 0.5})
        write(tmp_path / "b.json", {"accuracy": 0.6})
        with pytest.raises(InputError, match=r"several files and no run \(a.json, b.json\)"):
            read(tmp_path)

    def test_a_run_that_was_not_evaluated(self, tmp_path: Path) -> None:
        write_run(tmp_path / "seed-0", stage="trained")
        with pytest.raises(InputError, match="trained and not evaluated") as raised:
            read(tmp_path)
        assert raised.value.fix == f"metricgate evaluate --run-dir {tmp_path}"

    @pytest.mark.parametrize("left", ["nothing", "seed-1/train.log", "seed-1/notes.txt"])
    def test_a_seed_that_failed_is_not_left_out_of_the_mean(self, left: str, tmp_path: Path) -> None:
        write_run(tmp_path / "seed-0")
        (tmp_path / "seed-1").mkdir()
        if left != "nothing":
            write(tmp_path / left, "killed")
        with pytest.raises(InputError, match="no run in this folder") as raised:
            read(tmp_path)
        assert raised.value.where == str(tmp_path / "seed-1")

    def test_metrics_that_changed_after_the_run_was_recorded(self, tmp_path: Path) -> None:
        write_run(tmp_path, accuracy=0.5)
        write(tmp_path / "metrics.json", {"accuracy": 0.9})
        with pytest.raises(InputError, match=r"`accuracy` is 0.9 in metrics.json and 0.5 in run.json"):
            read(tmp_path)

    def test_a_broken_record_is_not_passed_over_for_the_metrics_beside_it(self, tmp_path: Path) -> None:
        write(tmp_path / "run.json", '{"schema": "metricgate.run/9"}')
        write(tmp_path / "metrics.json", {"accuracy": 0.9})
        with pytest.raises(InputError, match=r"run.json"):
            read(tmp_path)

    def test_a_record_with_impossible_numbers(self, tmp_path: Path) -> None:
        runs.write_record(tmp_path, RunRecord(metrics={"accuracy": MetricRecord(value=0.5, n=0)}))
        with pytest.raises(InputError, match=r"run.json: a metric has n = 0"):
            read(tmp_path)

    def test_a_misspelt_key_beside_a_score_table_is_not_taken_for_another_format(self, tmp_path: Path) -> None:
        write(tmp_path / "scores.csv", SCORES)
        write(tmp_path / "metrics.json", {"loss": {"valeu": 0.5}})
        with pytest.raises(InputError, match=r"`loss.valeu` is not known"):
            read(tmp_path)

    def test_a_run_that_has_runs_in_it(self, tmp_path: Path) -> None:
        write_run(tmp_path)
        write_run(tmp_path / "seed-1", seed=1)
        with pytest.raises(InputError, match=r"has runs in it \(seed-1\)"):
            read(tmp_path)

    @pytest.mark.parametrize("linked", ["run/metrics.json", "run/scores.csv", "run", "run/run.json"])
    def test_links_that_lead_out_of_the_folder(self, linked: str, tmp_path: Path) -> None:
        outside = write(tmp_path / "outside" / "metrics.json", {"accuracy": 1})
        write_run(tmp_path / "given" / "seed-0")
        link = tmp_path / "given" / linked
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(outside if link.suffix else outside.parent)
        with pytest.raises(InputError, match="leads out of the folder"):
            read(tmp_path / "given")

    def test_links_to_what_is_not_read_do_not_matter(self, tmp_path: Path) -> None:
        write_run(tmp_path / "runs" / "seed-0")
        (tmp_path / "runs" / "seed-0" / "data").symlink_to("/usr")
        (tmp_path / "runs" / "README").symlink_to("/etc/hostname")
        assert len(read(tmp_path / "runs")) == 1

    def test_a_wrong_key_of_metrics_json_is_named(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.json", {"accuracy": 0.9, "model": "resnet"})
        with pytest.raises(InputError, match="`model` is a string"):
            read(tmp_path)

    def test_links_within_the_folder_are_followed(self, tmp_path: Path) -> None:
        write(tmp_path / "blobs" / "0a1b", json.dumps({"accuracy": 0.5}))
        (tmp_path / "seed-0").mkdir()
        (tmp_path / "seed-0" / "metrics.json").symlink_to(tmp_path / "blobs" / "0a1b")
        (run,) = read(tmp_path)
        assert run.metrics == {"accuracy": Metric(0.5)}

    def test_a_link_in_a_metric_of_mlflow(self, tmp_path: Path) -> None:
        secret = write(tmp_path / "secret", "1000 0.5 0\n")
        write(tmp_path / "run" / "meta.yaml", "status: 3\n")
        (tmp_path / "run" / "metrics").mkdir()
        (tmp_path / "run" / "metrics" / "accuracy").symlink_to(secret)
        with pytest.raises(InputError, match="leads out of the folder"):
            read(tmp_path / "run")

    def test_a_pipe_named_like_a_file_does_not_hold_the_reader_up(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "metrics.json")
        with pytest.raises(InputError, match="no run in this folder"):
            read(tmp_path)

    @given(name=st.sampled_from(NAMES), content=st.binary(max_size=60))
    def test_any_bytes_are_a_run_or_an_error_that_says_where(
        self, name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("run")
        (folder / name).write_bytes(content)
        refused: MetricgateError | None = None
        try:
            assert len(read(folder)) == 1
        except MetricgateError as error:
            refused = error
        if refused:
            assert refused.exit_code == ExitCode.USAGE
            assert str(folder) in str(refused)


def test_a_recorded_run_whose_scores_are_gone_is_not_read_as_one_without(tmp_path: Path) -> None:
    record = RunRecord(metrics={"accuracy": MetricRecord(value=0.9)}, fingerprints=Fingerprints(test_set="sha256:00"))
    runs.write_record(tmp_path, record)
    with pytest.raises(InputError, match="its scores are gone"):
        formats.read_runs(tmp_path, id="example_id")
