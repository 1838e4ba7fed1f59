"""What a training says about its progress, whatever it writes, and what follows from it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.train import progress, retrying
from metricgate.train.nan_watch import NanWatch
from metricgate.train.progress import Progress

WHOLE = {
    "step": 1200,
    "steps": 7810,
    "epoch": 3,
    "epochs": 10,
    "loss": 0.41234,
    "examples_per_s": 5120.0,
    "eta_s": 312.0,
    "metrics": {"accuracy": 0.83},
}


class TestReading:
    def test_takes_what_is_there(self, tmp_path: Path) -> None:
        file = tmp_path / "progress.json"
        file.write_text(json.dumps(WHOLE))
        assert progress.read(file) == Progress(1200, 7810, 3, 10, 0.41234, 5120.0, 312.0, {"accuracy": 0.83})
        file.write_text('{"step": 3.0}')
        assert progress.read(file) == Progress(step=3)

    @pytest.mark.parametrize(
        ("written", "means"), [('"nan"', math.nan), ("NaN", math.nan), ('"-inf"', -math.inf), ('"inf"', math.inf)]
    )
    def test_takes_a_loss_that_is_no_number(self, written: str, means: float) -> None:
        found = progress.parse(b'{"loss": %s}' % written.encode())
        assert found is not None
        assert found.loss == pytest.approx(means, nan_ok=True)

    @pytest.mark.parametrize(
        "text",
        [
            '{"step": -1}', '{"step": true}', '{"step": "12"}', '{"step": 1.5}', '{"step": 1e30}', '{"step": [1]}',
            '{"eta_s": "nan"}', '{"loss": "low"}', '{"metrics": [1]}', '{"metrics": {"a": "b"}}', "{}",
        ],
    )  # fmt: skip
    def test_leaves_out_what_makes_no_sense(self, text: str) -> None:
        assert progress.parse(text.encode()) == Progress()

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"step": 1}' + b" " * 70_000, b"[" * 60_000])
    def test_takes_nothing_from_what_is_no_progress(self, data: bytes) -> None:
        assert progress.parse(data) is None

    def test_does_not_wait_for_a_pipe_or_read_a_folder(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert progress.read(tmp_path / "pipe") is None
        assert progress.read(tmp_path) is None
        assert progress.read(tmp_path / "none") is None

    @given(
        st.binary(max_size=200)
        | st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
    )
    def test_never_raises(self, data: bytes) -> None:
        progress.parse(data)

    @given(
        st.dictionaries(
            st.sampled_from(sorted(WHOLE)),
            st.none() | st.floats() | st.integers() | st.text() | st.dictionaries(st.text(), st.floats()),
        )
    )
    def test_never_raises_for_other_values(self, document: dict[str, object]) -> None:
        found = progress.parse(json.dumps(document).encode())
        assert found is not None
        progress.words(found, left_s=found.eta_s)

    def test_the_same_report_twice_is_no_new_one(self) -> None:
        data = b'{"loss": NaN, "step": 3, "metrics": {"a": "nan"}}'
        assert progress.parse(data) == progress.parse(data)


class TestWords:
    def test_are_what_people_want_to_know(self) -> None:
        found = progress.parse(json.dumps(WHOLE).encode())
        assert found is not None
        assert progress.words(found, left_s=2460.0) == (
            "epoch 3/10", "step 1,200/7,810", "loss 0.4123", "5,120 examples/s", "41m 00s left",
        )  # fmt: skip

    def test_leave_out_what_is_not_known(self) -> None:
        assert progress.words(Progress(), left_s=None) == ()
        assert progress.words(Progress(step=7, loss=math.nan, examples_per_s=0.25), left_s=None) == (
            "step 7", "loss nan", "0.25 examples/s",
        )  # fmt: skip


class TestNanThatStays:
    def test_needs_three_reports_and_another_epoch(self) -> None:
        watch = NanWatch()
        said = [watch.stays(math.nan, epoch=epoch, now=step) for step, epoch in enumerate((1, 1, 1, 1, 2))]
        assert said == [False, False, False, False, True]

    def test_or_ten_minutes_of_one_epoch(self) -> None:
        watch = NanWatch()
        said = [watch.stays(math.nan, epoch=1, now=now) for now in (0.0, 300.0, 599.0, 601.0)]
        assert said == [False, False, False, True]

    def test_or_a_minute_where_no_epochs_are_told(self) -> None:
        watch = NanWatch()
        said = [watch.stays(math.nan, epoch=None, now=now) for now in (0.0, 30.0, 59.0, 61.0)]
        assert said == [False, False, False, True]

    def test_begins_anew_after_a_number(self) -> None:
        watch = NanWatch()
        losses = [math.nan, math.nan, 0.5, math.nan, math.nan, math.inf, None]
        assert not any(watch.stays(loss, epoch=epoch, now=1000.0 * epoch) for epoch, loss in enumerate(losses))


class TestBackOff:
    def test_doubles_up_to_ten_minutes(self) -> None:
        assert [retrying.wait_s(retry, backoff_s=10) for retry in (1, 2, 3, 6, 7, 8, 1000)] == [10, 20, 40, 320, 600, 600, 600]
        assert retrying.wait_s(20, backoff_s=0) == 0
