"""Golden requests as an evaluation writes them: checked at once, and kept with the run."""

import hashlib
import io
import json
import os
import sys
from pathlib import Path

import pytest

from metricgate import config_file, evaluate, golden, train
from metricgate import run as runs
from metricgate.errors import ExitCode, InputError

EXCHANGE = {"request": {"instances": [[0.5]]}, "response": {"predictions": [[0.25]]}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "seed-0"
    folder.mkdir(parents=True)
    runs.write_record(folder, runs.RunRecord(stage="trained", seed=0))
    return tmp_path


def evaluated(root: Path, lines: str | None) -> runs.RunRecord:
    code = "import os; place = os.environ['METRICGATE_RUN_DIR']; open(place + '/metrics.json', 'w').write('{\"accuracy\": 1}')"
    if lines is not None:
        code += f"; open(place + '/golden.jsonl', 'w').write({lines!r})"
    (root / "evaluate.py").write_text(code)
    config = config_file.loads(
        json.dumps(
            {
                "train": {"run": "true"},
                "evaluate": {"run": f'"{sys.executable}" evaluate.py'},
                "metrics": {"accuracy": {"direction": "higher"}},
            }
        )
    )
    console = train.Console(output=io.BytesIO(), progress=io.StringIO(), grace_s=0.5)
    (folder,) = evaluate.evaluate(config, root=root, run_dir=root / "runs", environ=os.environ, console=console)
    record = runs.read_record(folder)
    assert record is not None
    return record


class TestGoldenRequests:
    def test_are_named_by_digest_in_the_run(self, root: Path) -> None:
        lines = json.dumps(EXCHANGE) + "\n"
        assert evaluated(root, lines).golden_digest == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()

    def test_may_be_missing(self, root: Path) -> None:
        assert evaluated(root, None).golden_digest is None

    def test_that_are_wrong_fail_the_evaluation_with_file_and_line(self, root: Path) -> None:
        broken = json.dumps(EXCHANGE) + '\n{"request": {"instances": [[0.5]]}, "response": {"predictions": [[NaN]]}}\n'
        with pytest.raises(InputError, match=r"golden\.jsonl:2: `response\.predictions\.0\.0`: nan") as raised:
            evaluated(root, broken)
        assert raised.value.exit_code == ExitCode.USAGE
        record = runs.read_record(root / "runs" / "seed-0")
        assert record is not None
        assert record.stage == "trained"

    def test_of_an_earlier_evaluation_are_gone(self, root: Path) -> None:
        evaluated(root, json.dumps(EXCHANGE))
        assert evaluated(root, None).golden_digest is None
        assert not (root / "runs" / "seed-0" / golden.FILE).exists()
