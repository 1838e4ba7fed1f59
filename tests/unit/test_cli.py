"""The command line: help with examples, exit codes, and nothing imported before it is needed."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from metricgate import cli
from metricgate.errors import ExitCode

COMMANDS = [
    *("init", "run", "train", "evaluate", "record", "baseline", "compare", "comment", "gate", "report", "power", "calibrate"),
    *("tags", "publish", "verify", "schema", "demo"),
]
HEAVY = ["numpy", "scipy", "duckdb", "pydantic", "jinja2", "tensorflow", "github", "docker", "requests", "sigstore"]


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_lists_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = say(capsys, "--help")
    assert code == 0
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("    ") and line.split()]
    for command in COMMANDS:
        assert command in listed
    for exit_code in ExitCode:
        assert f"{int(exit_code)} " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = say(capsys, command, "--help")
    assert code == 0
    assert f"example:\n  metricgate {command}" in out


def test_no_command_shows_the_help_and_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = say(capsys)
    assert code == ExitCode.USAGE
    assert "commands:" in out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["compare"], ["compare", "a"], ["train", "--seeds", "a"], ["train", "--seeds", "1,1"]]
)
def test_wrong_use_has_its_exit_code(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = say(capsys, *arguments)
    assert code == ExitCode.USAGE
    assert not out
    assert "usage:" in err


def test_errors_go_to_standard_error_without_a_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = say(capsys, "compare", "a", "b", "--config", str(tmp_path / "metricgate.yaml"))
    assert code == ExitCode.USAGE
    assert not out
    assert err.startswith("metricgate: ")
    assert "metricgate init" in err
    assert "Traceback" not in err


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from metricgate import cli\n"
        "try: cli.main(['compare', '--help'])\n"
        f"except SystemExit: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_comparing_imports_nothing_of_training_docker_or_github(tmp_path: Path) -> None:
    for side in "ab":
        (tmp_path / f"{side}.csv").write_text("example_id,accuracy\n" + "".join(f"{i},{i % 2}\n" for i in range(100)))
    (tmp_path / "metricgate.yaml").write_text("metrics: {accuracy: {direction: higher}}\n")
    program = (
        "import sys; from metricgate import cli\n"
        "cli.main(['compare', 'a.csv', 'b.csv', '--json', 'r.json'])\n"
        "heavy = ['tensorflow', 'keras', 'docker', 'github', 'actions_toolkit', 'scipy.stats', 'scipy.optimize']\n"
        "heavy += ['metricgate.train']\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", [["publish"], ["verify", "ghcr.io/acme/model:1.2.3", "--key", "key.pub"]])
def test_without_what_releases_need_it_is_said_how_to_install_it(command: list[str]) -> None:
    missing = "import sys; sys.modules['requests'] = sys.modules['securesystemslib'] = None; "
    run = f"from metricgate import cli; sys.exit(cli.main({command!r}))"
    done = subprocess.run([sys.executable, "-c", missing + run], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE
    assert 'pip install "metricgate[release]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_module_runs_too() -> None:
    done = subprocess.run([sys.executable, "-m", "metricgate", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("metricgate ")


@pytest.mark.parametrize("error", [RuntimeError("oops"), MemoryError(), KeyboardInterrupt()])
def test_nothing_that_goes_wrong_has_the_exit_code_of_a_regression(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(_: argparse.Namespace) -> int:
        raise error

    assert cli.guarded(command, argparse.Namespace()) == ExitCode.STAGE_FAILED
    assert "metricgate: " in capsys.readouterr().err
