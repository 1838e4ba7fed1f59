"""Training: a run folder per seed, each with its model, whatever the command does."""

import ast
import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import pytest

from metricgate import config_file, train
from metricgate import run as runs
from metricgate.config import Config
from metricgate.errors import ConfigError, ExitCode, InputError, StageError, UsageError
from metricgate.run import RunRecord
from metricgate.train import CommandError, digest
from metricgate.train.command import Usage
from metricgate.train.known import Known
from metricgate.train.model import ModelPath
from metricgate.train.one_run import OneRun
from metricgate.train.run_folder import RunFolder

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=timezone.utc)
TRAINER = """\
import os, pathlib
seed = os.environ["METRICGATE_SEED"]
model = pathlib.Path(os.environ["METRICGATE_MODEL"])
model.parent.mkdir(parents=True, exist_ok=True)
print("training", seed, "found a model" if model.exists() else "from scratch")
model.write_text("weights of seed " + seed)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a repository"
    root.mkdir()
    (root / "train.py").write_text(TRAINER)
    return root


def configured(**keys: object) -> Config:
    section = {"run": f'"{sys.executable}" train.py', **keys}
    model = section.pop("model", "outputs/model.bin")
    document = {"train": section, "model": model, "metrics": {"accuracy": {"direction": "higher"}}}
    return config_file.loads(json.dumps({key: value for key, value in document.items() if value is not None}))


def start(
    root: Path,
    config: Config,
    *,
    seeds: Sequence[int] | None = None,
    commit: str | None = "c0ffee",
    output: io.BytesIO | None = None,
    content: str | None = None,
) -> tuple[Path, ...]:
    return train.train(
        config,
        root=root,
        run_dir=root / "runs",
        seeds=seeds,
        commit=commit,
        content=content,
        environ=os.environ,
        console=train.Console(output=output or io.BytesIO(), progress=io.StringIO(), grace_s=0.5),
        clock=lambda: NOON,
    )


def record(folder: Path) -> RunRecord:
    found = runs.read_record(folder)
    assert found is not None
    return found


class TestSeeds:
    def test_each_has_a_folder_with_its_own_model(self, root: Path) -> None:
        folders = start(root, configured(seeds=[0, 7]))
        assert folders == (root / "runs" / "seed-0", root / "runs" / "seed-7")
        assert [(folder / "model").read_text() for folder in folders] == ["weights of seed 0", "weights of seed 7"]
        assert (root / "outputs" / "model.bin").read_text() == "weights of seed 7"
        assert len({record(folder).model_digest for folder in folders}) == 2

    def test_each_starts_as_the_first_did(self, root: Path) -> None:
        output = io.BytesIO()
        start(root, configured(seeds=[0, 1, 2]), output=output)
        assert output.getvalue().decode().count("from scratch") == 3

    def test_each_finds_the_model_that_the_checkout_brought(self, root: Path) -> None:
        (root / "outputs").mkdir()
        (root / "outputs" / "model.bin").write_text("pretrained")
        output = io.BytesIO()
        start(root, configured(seeds=[0, 1]), output=output)
        assert output.getvalue().decode().count("found a model") == 2

    def test_can_be_other_ones_than_those_of_the_configuration(self, root: Path) -> None:
        assert [folder.name for folder in start(root, configured(), seeds=[3, 1])] == ["seed-3", "seed-1"]

    @pytest.mark.parametrize("seeds", [[1, 1], [-1], []])
    def test_that_make_no_sense_are_refused(self, seeds: list[int], root: Path) -> None:
        with pytest.raises(UsageError) as raised:
            start(root, configured(), seeds=seeds)
        assert raised.value.exit_code == ExitCode.USAGE

    def test_before_the_one_that_fails_are_done(self, root: Path) -> None:
        (root / "train.py").write_text(TRAINER + "if seed == '1': raise SystemExit(4)\n")
        with pytest.raises(CommandError, match="training of seed 1 ended with exit code 4"):
            start(root, configured(seeds=[0, 1, 2]))
        assert record(root / "runs" / "seed-0").seed == 0
        assert not (root / "runs" / "seed-1" / "run.json").exists()
        assert (root / "runs" / "seed-1" / "train.log").exists()
        assert not (root / "runs" / "seed-2").exists()


class TestRecord:
    def test_says_what_was_trained_when_and_with_what(self, root: Path) -> None:
        (folder,) = start(root, configured(seeds=[5]))
        found = record(folder)
        assert (found.stage, found.seed, found.commit, found.metrics) == ("trained", 5, "c0ffee", {})
        assert found.times.started == "2026-01-02T12:00:00Z"
        assert found.times.train_s is not None
        assert found.times.train_s > 0
        assert found.model_digest == digest.of_path(root / "outputs" / "model.bin")
        assert found.resources.cpu_s is not None
        assert found.resources.peak_memory_bytes is not None
        assert found.fingerprints.environment is not None

    def test_describes_the_interpreter_of_the_command(self, root: Path) -> None:
        (folder,) = start(root, configured())
        environment = record(folder).environment
        assert environment["python"]["executable"] == sys.executable
        assert environment["python"]["version"] == sys.version.split()[0]
        assert "numpy" in environment["python"]["packages"]
        assert environment["cores"] >= 1

    def test_has_the_digest_of_the_data(self, root: Path) -> None:
        (root / "data").mkdir()
        (root / "data" / "train.csv").write_text("1,2")
        config = configured(data=["data/*.csv"])
        first = record(start(root, config)[0]).fingerprints.data
        assert first == digest.of_files({"data/train.csv": root / "data" / "train.csv"})
        (root / "data" / "train.csv").write_text("1,3")
        assert record(start(root, config)[0]).fingerprints.data != first

    def test_has_a_fingerprint_of_the_training_where_its_inputs_are_declared(self, root: Path) -> None:
        assert record(start(root, configured())[0]).fingerprints.training is None
        (root / "settings.ini").write_text("rate = 1")
        config = configured(inputs=["settings.ini"])
        first = record(start(root, config)[0]).fingerprints.training
        assert first is not None
        assert record(start(root, config)[0]).fingerprints.training == first
        (root / "settings.ini").write_text("rate = 2")
        assert record(start(root, config)[0]).fingerprints.training != first

    def test_data_that_is_not_there_is_found_out_before_the_training(self, root: Path) -> None:
        with pytest.raises(InputError, match="no file matches"):
            start(root, configured(data=["data/*.csv"]))
        assert not (root / "outputs").exists()

    def test_the_log_keeps_the_output(self, root: Path) -> None:
        (folder,) = start(root, configured())
        assert (folder / "train.log").read_text() == "training 0 from scratch\n"


class TestVariables:
    def test_are_absolute_and_lead_to_folders_that_are_there(self, root: Path) -> None:
        (root / "train.py").write_text(
            TRAINER + "folders = [os.environ[f'METRICGATE_{name}_DIR'] for name in ('RUN', 'CHECKPOINT')]\n"
            "print([*folders, os.environ['METRICGATE_MODEL']])\nassert all(map(os.path.isdir, folders))\n"
        )
        output = io.BytesIO()
        (folder,) = start(root, configured(), output=output)
        run, checkpoints, model = ast.literal_eval(output.getvalue().decode().splitlines()[1])
        assert (run, model) == (str(folder), str(root / "outputs" / "model.bin"))
        assert Path(checkpoints).is_absolute()

    def test_without_a_model_there_is_none(self, root: Path) -> None:
        (root / "train.py").write_text("import os; assert 'METRICGATE_MODEL' not in os.environ")
        (folder,) = start(root, configured(model=None))
        assert record(folder).model_digest is None


class TestModel:
    def test_may_be_a_folder(self, root: Path) -> None:
        (root / "train.py").write_text(
            "import os, pathlib\nmodel = pathlib.Path(os.environ['METRICGATE_MODEL'])\n"
            "for name in ('saved_model.pb', 'variables/0001', 'assets/größe.txt'):\n"
            "    (model / name).parent.mkdir(parents=True, exist_ok=True)\n"
            "    (model / name).write_text(name + os.environ['METRICGATE_SEED'])\n"
        )
        folders = start(root, configured(seeds=[0, 1], model="outputs/model"))
        for seed, folder in enumerate(folders):
            assert (folder / "model" / "variables" / "0001").read_text() == f"variables/0001{seed}"
            assert record(folder).model_digest == digest.of_path(folder / "model")

    def test_that_was_not_written_is_a_failed_training(self, root: Path) -> None:
        (root / "train.py").write_text("print('all is well')")
        with pytest.raises(StageError, match=r"left no model at outputs/model.bin") as raised:
            start(root, configured())
        assert raised.value.exit_code == ExitCode.STAGE_FAILED
        assert "METRICGATE_MODEL" in raised.value.fix

    def test_of_an_earlier_training_does_not_pass_for_this_one(self, root: Path) -> None:
        start(root, configured())
        (root / "train.py").write_text("print('forgot to save')")
        with pytest.raises(StageError, match=r"did not write outputs/model.bin: what is there was there before"):
            start(root, configured())

    def test_that_comes_out_the_same_again_is_a_new_one(self, root: Path) -> None:
        first, second = (start(root, configured())[0] for _ in range(2))
        assert record(first).model_digest == record(second).model_digest

    @pytest.mark.parametrize("model", ["/models/net", "../model", "a/../../model", "."])
    def test_has_to_lie_in_the_repository(self, model: str, root: Path) -> None:
        with pytest.raises(ConfigError, match="is not a path inside the repository"):
            start(root, configured(model=model))


class TestRetries:
    CRASHING = """\
import os, pathlib, signal
state = pathlib.Path(os.environ["METRICGATE_CHECKPOINT_DIR"], "epoch")
epoch = int(state.read_text()) if state.exists() else 0
print("starting at", epoch, flush=True)
state.write_text(str(epoch + 1))
if epoch < 2:
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path(os.environ["METRICGATE_MODEL"]).write_text("done")
"""

    def test_start_a_killed_training_again_with_its_checkpoints(self, root: Path) -> None:
        (root / "train.py").write_text(self.CRASHING)
        output = io.BytesIO()
        (folder,) = start(root, configured(retries=2, backoff="1s"), output=output)
        assert output.getvalue().decode().splitlines() == ["starting at 0", "starting at 1", "starting at 2"]
        assert (folder / "train.log").read_bytes() == output.getvalue()
        assert not list(root.rglob("epoch"))

    def test_end(self, root: Path) -> None:
        (root / "train.py").write_text(self.CRASHING)
        with pytest.raises(CommandError, match="SIGKILL"):
            start(root, configured(retries=1, backoff="1s"))
        assert [file.read_text() for file in root.rglob("epoch")] == ["2"]

    def test_a_training_of_unknown_code_starts_without_the_checkpoints_of_a_failed_one(self, root: Path) -> None:
        (root / "train.py").write_text(self.CRASHING)
        output = io.BytesIO()
        for _ in range(2):
            with pytest.raises(CommandError):
                start(root, configured(), output=output)
        assert output.getvalue().decode().splitlines() == ["starting at 0", "starting at 0"]

    def test_a_new_job_goes_on_where_one_of_the_same_commit_failed(self, root: Path) -> None:
        (root / "train.py").write_text(self.CRASHING)
        output = io.BytesIO()
        for content in ("c0ffee", "c0ffee", "another", "c0ffee"):
            with contextlib.suppress(CommandError):
                start(root, configured(), output=output, content=content)
        assert output.getvalue().decode().splitlines() == [f"starting at {epoch}" for epoch in (0, 1, 0, 2)]

    def test_are_not_for_mistakes(self, root: Path) -> None:
        (root / "train.py").write_text("print('once')\nraise ValueError('wrong shape')")
        output = io.BytesIO()
        with pytest.raises(CommandError) as raised:
            start(root, configured(retries=3), output=output)
        assert output.getvalue().count(b"once") == 1
        assert raised.value.last_lines[-1] == "ValueError: wrong shape"

    def test_share_the_time_limit(self, root: Path) -> None:
        config = configured(
            run='state="$METRICGATE_CHECKPOINT_DIR/crashed"; echo once; '
            'test -e "$state" || { touch "$state"; kill -9 $$; }; echo again; exec sleep 1000',
            retries=5,
            backoff="1s",
            timeout="4s",
        )
        output = io.BytesIO()
        with pytest.raises(CommandError, match="took longer than 4s"):
            start(root, config, output=output)
        assert output.getvalue() == b"once\nonce\nagain\n"


class TestRunFolder:
    def test_of_a_seed_is_replaced_whole_and_others_stay(self, root: Path) -> None:
        start(root, configured(), seeds=[0, 1])
        for seed in (0, 1):
            (root / "runs" / f"seed-{seed}" / "scores.csv").write_text("stale")
        start(root, configured(), seeds=[0])
        assert not (root / "runs" / "seed-0" / "scores.csv").exists()
        assert (root / "runs" / "seed-1" / "scores.csv").exists()

    def test_runs_of_two_commits_are_not_mixed(self, root: Path) -> None:
        start(root, configured(), seeds=[0, 1], commit="a" * 40)
        with pytest.raises(UsageError, match="holds a run of commit aaaaaaaaaaaa, and this is commit bbbbbbbbbbbb"):
            start(root, configured(), seeds=[0], commit="b" * 40)
        start(root, configured(), seeds=[0, 1], commit="b" * 40)  # replaces all of them

    @pytest.mark.parametrize("name", ["thesis.tex", "seed-0/notes.txt"])
    def test_what_is_no_run_is_not_deleted(self, name: str, root: Path) -> None:
        file = root / "runs" / "seed-0" / name
        file.parent.mkdir(parents=True)
        file.write_text("years of work")
        with pytest.raises(UsageError, match="something else than a run"):
            start(root, configured())
        assert file.read_text() == "years of work"

    def test_a_link_in_its_place_is_not_followed(self, root: Path) -> None:
        elsewhere = root / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "run.json").write_text("{}")
        (root / "runs").mkdir()
        (root / "runs" / "seed-0").symlink_to(elsewhere)
        with pytest.raises(UsageError, match="something else than a run"):
            start(root, configured())
        assert (elsewhere / "run.json").exists()


class TestSeedsAtOnce:
    # Each waits until the other one runs too, so one after another would take for ever.
    TOGETHER = """\
import os, pathlib, time
seed = int(os.environ["METRICGATE_SEED"])
pathlib.Path(f"running-{seed}").touch()
while not pathlib.Path(f"running-{1 - seed}").exists():
    time.sleep(0.01)
pathlib.Path(os.environ["METRICGATE_MODEL"]).write_text(f"weights of seed {seed}")
"""

    def test_are_trained_together_each_with_its_own_model(self, root: Path) -> None:
        (root / "train.py").write_text(self.TOGETHER)
        folders = start(root, configured(parallel=2, seeds=[0, 1], timeout="60s"))
        assert [(folder / "model").read_text() for folder in folders] == ["weights of seed 0", "weights of seed 1"]
        assert [record(folder).seed for folder in folders] == [0, 1]
        assert not (root / "runs" / ".models").exists()

    def test_one_may_begin_just_when_another_one_ends(self, root: Path) -> None:
        config = configured()
        known = Known(config=config, root=root, environ={}, fetched=None).look()
        used = Usage(wall_s=1.0, cpu_s=1.0, peak_memory_bytes=1)

        def one(seed: int) -> str:
            folder = RunFolder.of(root / "runs", seed=seed)
            folder.make()
            shared = ModelPath.of("outputs/model.bin", root=root)
            run = OneRun.begin(config, folder, shared=shared, private=True, checkpoints=root, started=NOON)
            assert run.model is not None
            run.model.path.write_text(f"weights of seed {seed}")
            return (run.end(used, gpu=None, known=known, commit=None).path / "model").read_text()

        with ThreadPoolExecutor(max_workers=4) as pool:
            assert list(pool.map(one, range(200))) == [f"weights of seed {seed}" for seed in range(200)]

    def test_one_that_fails_leaves_the_others_and_is_named(self, root: Path) -> None:
        (root / "train.py").write_text(TRAINER + "assert seed != '1', 'wrong shape'\n")
        with pytest.raises(StageError, match=r"1 of 3 seeds failed\n(.|\n)*AssertionError: wrong shape") as raised:
            start(root, configured(parallel=3, seeds=[0, 1, 2]))
        assert "metricgate train --seeds 1" in raised.value.fix
        assert [(root / "runs" / f"seed-{seed}" / "run.json").exists() for seed in range(3)] == [True, False, True]

    def test_that_all_write_to_one_place_are_told_which_line_is_missing(self, root: Path) -> None:
        (root / "outputs").mkdir()
        (root / "train.py").write_text("open('outputs/model.bin', 'w').write('weights')\n")
        with pytest.raises(StageError, match="left no model where it was told to") as raised:
            start(root, configured(parallel=2, seeds=[0, 1]))
        assert 'model.save(os.environ["METRICGATE_MODEL"])' in str(raised.value)


def test_what_keras_is_told(root: Path) -> None:
    line = 'printf "%s," $METRICGATE_KERAS_PRECISION $METRICGATE_KERAS_XLA ${METRICGATE_KERAS_DETERMINISTIC-none}; echo'
    output = io.BytesIO()
    start(root, configured(run=line, model=None, keras={"precision": "mixed_bfloat16", "xla": False}), output=output)
    assert output.getvalue() == b"mixed_bfloat16,0,none,\n"
