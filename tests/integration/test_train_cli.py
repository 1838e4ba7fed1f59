"""``metricgate train``, ``evaluate`` and ``run`` as a person types them: what goes where, and how they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from metricgate import run as runs

WRITE = 'echo "{\\"accuracy\\": $VALUE}" > "$METRICGATE_RUN_DIR/metrics.json"'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = tmp_path / "my models"
    repository.mkdir()
    configure(repository, train={"run": f"echo training; VALUE=0.5; {WRITE}", "seeds": [0, 1]})
    git(repository, "init", "--quiet")
    git(repository, "add", ".")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "first")
    return repository


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout.strip()


def configure(repository: Path, **sections: object) -> None:
    document = {**sections, "metrics": {"accuracy": {"direction": "higher"}}}
    (repository / "metricgate.yaml").write_text(json.dumps(document))


def metricgate(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metricgate", *arguments]
    return subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True)


def test_the_run_folder_is_on_standard_output_and_everything_else_on_standard_error(repository: Path) -> None:
    done = metricgate(repository, "run")
    commit = git(repository, "rev-parse", "HEAD")
    assert done.returncode == 0
    assert done.stdout == f"{repository / '.metricgate' / 'runs' / commit[:7]}\n"
    told = [line for line in done.stderr.splitlines() if "GPU" not in line]  # whether there is one is the machine's business
    assert told == [
        "metricgate: seed 0 (1 of 2)",
        "training",
        "metricgate: seed 1 (2 of 2)",
        "training",
    ]
    record = runs.read_record(Path(done.stdout.strip()) / "seed-1")
    assert record is not None
    assert (record.commit, record.stage, record.metrics["accuracy"].value) == (commit, "evaluated", 0.5)


def test_a_training_that_is_its_own_evaluation_needs_one_command(repository: Path) -> None:
    assert metricgate(repository, "train", "--run-dir", "all runs").returncode == 0
    assert metricgate(repository, "compare", "all runs", "all runs").returncode == 0


def test_training_and_evaluation_are_two_commands_where_there_are_two_sections(repository: Path) -> None:
    configure(repository, train={"run": "true"}, evaluate={"run": f"VALUE=0.5; {WRITE}"})
    assert metricgate(repository, "train", "--run-dir", "runs").returncode == 0
    unfinished = metricgate(repository, "compare", "runs", "runs")
    assert unfinished.returncode == 2
    assert "metricgate evaluate --run-dir runs" in unfinished.stderr
    assert metricgate(repository, "evaluate", "--run-dir", "runs").returncode == 0
    assert metricgate(repository, "compare", "runs", "runs").returncode == 0


@pytest.mark.parametrize(
    ("train", "code", "said"),
    [
        ({"run": "echo out of luck; exit 3"}, 5, "ended with exit code 3"),
        ({"run": "kill -9 $$"}, 5, "was killed by SIGKILL"),
        ({"run": f"VALUE=NaN; {WRITE}"}, 2, "`accuracy` is nan"),
        ({"run": "true"}, 2, "there is no metric `accuracy`"),
    ],
)
def test_the_exit_code_says_who_has_to_act(repository: Path, train: dict[str, object], code: int, said: str) -> None:
    configure(repository, train=train)
    done = metricgate(repository, "run")
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
