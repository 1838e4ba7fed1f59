"""Counting verdicts on a laptop: `metricgate compare --store`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.recording import commit, write_run

from metricgate import cli
from metricgate.errors import ExitCode

POLICY = """\
name: digits
metrics: {accuracy: {direction: higher}}
gate: {reuse: {budget: 2}, rules: [{metric: accuracy, min: 0.2}]}
"""
TEST_SET = f"sha256:{'7' * 64}"


class Laptop:
    """Runs of two commits, and a store beside them."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys
        (root / "metricgate.yaml").write_text(POLICY)
        for name, number in (("baseline", 1), ("candidate", 2)):
            file = write_run(root / name, commit=commit(number)) / "run.json"
            record = json.loads(file.read_text())
            file.write_text(json.dumps({**record, "fingerprints": {"test_set": TEST_SET}}))

    def compare(self, *options: str) -> tuple[int, str, str]:
        """Compare; the exit code, the report for people, and what else was said."""
        sides = [str(self.root / side) for side in ("baseline", "candidate")]
        code = cli.main(["compare", *sides, "--config", str(self.root / "metricgate.yaml"), *options])
        said = self.capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def laptop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Laptop:
    return Laptop(tmp_path, capsys)


def test_each_comparison_is_counted_until_the_budget_is_spent(laptop: Laptop) -> None:
    for count, code in ((1, ExitCode.PASSED), (2, ExitCode.PASSED), (3, ExitCode.INCONCLUSIVE)):
        found, out, err = laptop.compare("--store", "kept")
        assert found == code
        assert f"This is verdict {count} of 2 on this test set." in out
        assert err == "this verdict is counted, and kept for 000000000000\n"
    assert "a test set whose budget is 2" in out
    kept = [path.relative_to(laptop.root / "kept").parts[0] for path in (laptop.root / "kept").rglob("*.json")]
    assert sorted(kept) == 3 * ["reports"] + 3 * ["verdicts"]


def test_without_a_store_nothing_is_counted_and_the_missing_count_is_told(laptop: Laptop) -> None:
    code, out, err = laptop.compare()
    assert (code, err) == (0, "")
    assert "How many verdicts this test set has given is not known: the ledger was not read." in out
    assert "This is verdict" not in out


def test_the_report_says_it_in_json(laptop: Laptop) -> None:
    laptop.compare("--store", "kept", "--json", str(laptop.root / "report.json"))
    report = json.loads((laptop.root / "report.json").read_text())
    assert report["reuse"] == {"test_set": TEST_SET, "count": 1, "budget": 2, "adaptivity": None}


def test_runs_of_no_commit_are_judged_and_not_counted(laptop: Laptop) -> None:
    file = laptop.root / "candidate" / "seed-0" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "commit": None}))
    code, out, err = laptop.compare("--store", "kept")
    assert code == 0
    assert "This is verdict 1 of 2" in out
    assert err == "this verdict is not counted: the runs name no commit\n"
