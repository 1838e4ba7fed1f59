"""Whatever a run's files hold, a comparison is a report that can be shown, or a refusal that can."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metricgate.errors import StageError
from metricgate.github import quarantine
from metricgate.github.archive import ArtifactError
from metricgate.github.foreign_runs import Limits, Task
from metricgate.report import markdown, terminal
from metricgate.report.document import Report
from tests.hostile import runs

SMALL = Limits(seconds=60, cpu_seconds=30)


def lay(folder: Path, files: runs.Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@functools.cache
def policy() -> str:
    return runs.POLICY


def task(root: Path, candidate: runs.Files, *, baseline: runs.Files | None = None, limits: Limits = SMALL) -> Task:
    return Task(
        candidate=lay(root / "candidate", candidate),
        head="f" * 40,
        baseline=lay(root / "baseline", runs.honest() if baseline is None else baseline),
        policy=policy(),
        change=policy(),
        limits=limits,
    )


def shown(report: Report) -> str:
    return markdown.render(report) + terminal.render(report)


def controlled(text: str) -> list[str]:
    return [char for char in text if char != "\n" and unicodedata.category(char) in {"Cc", "Cs", "Co", "Cn"}]


@pytest.mark.parametrize("name", runs.UNUSABLE)
def test_runs_that_are_no_evidence_are_refused_in_a_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        quarantine.compare_here(task(tmp_path, runs.UNUSABLE[name]))
    said = str(caught.value)
    assert not controlled(said)
    assert len(said) < 2_000
    assert str(tmp_path) not in said, "what it says is about the artifact, not about this machine"
    assert "Error)" not in said or "UnicodeDecodeError" in said, f"refused by accident: {said}"


@pytest.mark.parametrize("function", ["subprocess:call", "scipy.stats:kendalltau"])
def test_a_strangers_own_policy_chooses_no_function(tmp_path: Path, function: str) -> None:
    chosen = f"metrics: {{accuracy: {{direction: higher, aggregate: '{function}'}}}}\n"
    wanted = task(tmp_path, runs.honest()).model_copy(update={"policy": None, "change": chosen})
    with pytest.raises(StageError, match="judged by its own policy"):
        quarantine.compare_here(wanted)


@pytest.mark.parametrize("name", runs.SPEAKING)
def test_ids_and_slices_that_want_to_be_more_are_judged_as_what_they_are(tmp_path: Path, name: str) -> None:
    worse = {key: content.replace(b",1\n", b",0\n", 60) for key, content in runs.SPEAKING[name].items()}
    report = quarantine.compare_here(task(tmp_path, worse, baseline=runs.SPEAKING[name]))
    assert report.verdict == "fail"
    assert not controlled(shown(report))


def test_no_run_chooses_whose_it_is(tmp_path: Path) -> None:
    """One that named a recorded commit would take the place of that commit's runs in the training noise."""
    report = quarantine.compare_here(task(tmp_path, runs.honest()))
    assert report.candidate.commit == "f" * 40
    assert report.baseline.commit is None


def test_an_honest_run_comes_through_the_child(tmp_path: Path) -> None:
    report = quarantine.compare(task(tmp_path, runs.honest(6)))
    assert report.verdict == "fail"
    assert report.name == "digits"


def test_the_child_knows_no_secret_of_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees five variables, none of them ours, and its working folder is empty."""
    monkeypatch.setenv("METRICGATE_INPUT_TOKEN", "ghs_secret")
    monkeypatch.setenv("GITHUB_OUTPUT", "/tmp/output")
    given = quarantine.environ_of(tmp_path)
    assert set(given) <= {"PATH", "TMPDIR", "OPENBLAS_NUM_THREADS", "LD_LIBRARY_PATH"}
    assert "ghs_secret" not in str(given)


def test_a_table_that_claims_more_rows_than_anybody_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the table claims 2,000 rows"):
        quarantine.compare_here(
            task(tmp_path, {"seed-0/scores.parquet": runs.constant(2_000, groups=2)}, limits=Limits(rows=1_999))
        )


def test_a_table_of_more_columns_than_anybody_has_is_refused(tmp_path: Path) -> None:
    wide = runs.columns(example_id=["a"], **{f"c{i}": [1] for i in range(60)})
    with pytest.raises(ArtifactError, match="claims 62 columns"):
        quarantine.compare_here(task(tmp_path, {"seed-0/scores.parquet": wide}, limits=Limits(columns=61)))


def test_memory_has_an_end(tmp_path: Path) -> None:
    """Sixty million rows in 400 kB, where nobody looked at what the table claims."""
    bomb = runs.constant(60_000_000, groups=60)
    assert len(bomb) < 400_000
    limits = Limits(rows=10**12, memory_bytes=1_000_000_000, seconds=120, cpu_seconds=60)
    with pytest.raises(ArtifactError):
        quarantine.compare(task(tmp_path, {"seed-0/scores.parquet": bomb}, limits=limits))


def test_time_has_an_end(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=r"took longer than 0\.05 seconds"):
        quarantine.compare(task(tmp_path, runs.honest(), limits=Limits(seconds=0.05)))
    assert time.monotonic() - started < 30


def test_processor_time_has_an_end(tmp_path: Path) -> None:
    slow = f"a: [{', '.join(['x'] * 90_000)}]\n"  # many seconds of parsing, and not too long to be parsed
    trusted = task(tmp_path, runs.honest(), limits=Limits(cpu_seconds=2, seconds=240))
    with pytest.raises(ArtifactError, match="more than 2 seconds of processor time"):
        quarantine.compare(trusted.model_copy(update={"policy": slow}))


def test_a_report_has_a_size(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the report would have more than"):
        quarantine.compare(task(tmp_path, runs.honest(6), limits=Limits(report_bytes=100, seconds=120)))


def test_columns_nested_in_columns_end_in_a_report_or_a_refusal(tmp_path: Path) -> None:
    with contextlib.suppress(ArtifactError):
        quarantine.compare(task(tmp_path, {"seed-0/scores.parquet": runs.deep(300)}))


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with pytest.raises(ArtifactError):
        quarantine.compare(task(tmp_path, runs.honest(), limits=Limits(seconds=0.05)))
    assert not list(scratch.iterdir())


FUZZ = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEEDS = {
    "scores.parquet": runs.columns(
        example_id=[f"e{i}" for i in range(60)], label=["a", "b"] * 30, accuracy=[float(i % 10 < 6) for i in range(60)]
    ),
    "scores.csv": runs.table(),
    "scores.jsonl": b"".join(b'{"example_id": "e%d", "label": "a", "accuracy": %d}\n' % (i, i % 2) for i in range(60)),
    "metrics.json": b'{"accuracy": {"value": 0.9, "stderr": 0.01, "n": 100}, "loss": 1.5}',
    "run.json": runs.record(name="digits", metrics={"accuracy": {"value": 0.9, "n": 60}}),
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_file_with_bytes_changed(tmp_path: Path, name: str) -> None:
    @FUZZ
    @given(st.data())
    def one(data: st.DataObject) -> None:
        content = bytearray(SEEDS[name])
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        files = {"run.json": runs.record(), "scores.csv": runs.table()} if name == "run.json" else {}
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder, contextlib.suppress(ArtifactError):
            given_files = {f"seed-0/{file}": text for file, text in {**files, name: bytes(content)}.items()}
            check = shown(quarantine.compare_here(task(Path(folder), given_files)))
            assert not controlled(check)

    one()
