"""What a comment on a pull request holds: marker and state that nobody sees, the report, what came before, and its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.github_markdown import GITHUB

from metricgate.report import comment, document
from metricgate.report.comment import Source, State
from metricgate.report.document import FlipsInfo, IntervalInfo, Report, RuleInfo, SideInfo

HEADS = [f"{index:040x}" for index in range(1, 60)]

verdicts = st.sampled_from(["pass", "fail", "inconclusive", "not_comparable"])
sources = st.builds(
    Source, head=st.sampled_from(HEADS), run=st.integers(0, 50), attempt=st.integers(0, 3), link=st.just("https://x.example/1")
)


def report(**changes: object) -> Report:
    fields: dict[str, object] = {
        "name": "digits-cnn",
        "verdict": "pass",
        "exit_code": 0,
        "reasons": ("accuracy may have fallen",),
        "baseline": SideInfo(commit="a" * 40, runs=3),
        "candidate": SideInfo(commit="b" * 40, runs=3),
    }
    return Report.model_validate({**fields, **changes})


def failed(**changes: object) -> Report:
    return report(verdict="fail", exit_code=1, **changes)


def source(index: int = 0, **changes: object) -> Source:
    return Source.model_validate({"head": HEADS[index], "run": 100 + index, "attempt": 1, **changes})


def state(index: int, verdict: str = "fail", **changes: object) -> State:
    return State.model_validate({**source(index).model_dump(), "verdict": verdict, **changes})


def test_the_first_line_says_which_model_it_is_about() -> None:
    text = comment.compose(report(), source()).text
    assert text.splitlines()[0] == "<!-- metricgate: digits-cnn -->"
    assert comment.read(text, "digits-cnn") is not None
    assert comment.read(text, "digits") is None
    assert comment.read(f"see\n{text}", "digits-cnn") is None


def test_marker_and_state_are_invisible() -> None:
    body = comment.compose(report(), source())
    assert GITHUB.render(body.text).replace(GITHUB.render(body.shown), "").count("<!--") == 2
    assert body.state is not None
    assert body.state.head not in body.shown


@given(st.text(max_size=200), sources, verdicts)
def test_what_is_written_can_be_read_again(name: str, written: Source, verdict: str) -> None:
    body = comment.compose(report(name=name, verdict=verdict), written)
    read = comment.read(body.text, name)
    assert read is not None
    assert read.state == body.state
    assert read.same(body)


@given(st.text(max_size=100))
def test_no_name_and_no_login_ends_the_hidden_part(text: str) -> None:
    nasty = f"{text} --> <script>alert(1)</script> --!> <!-- {text}"
    waiver = document.Waiver(by=nasty, at=nasty, commit=nasty)
    body = comment.compose(report(name=nasty, waiver=waiver), source(), before=[state(1, waiver=waiver)])
    first, second, third = body.text.split("\n")[:3]
    for line in (first, second):
        assert line.startswith("<!-- metricgate")
        assert line.count("-->") == 1
        assert line.endswith("-->")
        assert "--" not in line[4:-3]
    assert third == ""
    assert "<script" not in body.text


def test_a_comment_from_a_page_with_other_line_ends_is_the_same() -> None:
    body = comment.compose(report(), source())
    read = comment.read(body.text.replace("\n", "\r\n"), "digits-cnn")
    assert read is not None
    assert read.same(body)


@pytest.mark.parametrize("broken", ["", "{}", "{nonsense", '{"head": "x"}', '{"head": 7, "verdict": "great"}', "[" * 50_000])
def test_a_state_that_somebody_broke_counts_as_none(broken: str) -> None:
    text = f"{comment.marker('m')}\n<!-- metricgate-state: {broken} -->\n\nhello"
    read = comment.read(text, "m")
    assert read is not None
    assert read.state is None
    assert "hello" in read.shown


def test_another_link_to_the_same_report_is_no_change() -> None:
    one = comment.compose(report(), source(link="https://github.example/acme/model/actions/runs/1"))
    other = comment.compose(report(), source(run=200, link="https://github.example/acme/model/actions/runs/2"))
    assert one.same(other)
    assert "[Full report](https://github.example/acme/model/actions/runs/1)" in one.text
    assert not one.same(comment.compose(failed(), source()))


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x.example/) [here](https://evil.example", "https://x y"])
def test_a_link_is_an_address_and_nothing_else(link: str) -> None:
    with pytest.raises(ValueError, match="link"):
        source(link=link)


def test_earlier_commits_are_folded_newest_first_and_each_once() -> None:
    before = state(1, "fail", earlier=[state(0, "inconclusive").past, source(2).model_dump() | {"verdict": "pass"}])
    shown = comment.compose(report(), source(3), before=[before]).shown
    assert "<details><summary>Earlier commits: ❌ ⚪ ✅</summary>" in shown
    lines = [line for line in shown.splitlines() if line.startswith("- ") and "`00000" in line]
    assert lines == [
        "- ❌ `0000000` failed",
        "- ⚪ `0000000` not sure",
        "- ✅ `0000000` no regression",
    ]


def test_a_second_attempt_is_no_earlier_commit() -> None:
    body = comment.compose(report(), source(1, attempt=2), before=[state(1)])
    assert "Earlier commits" not in body.shown


def test_duplicates_share_one_history() -> None:
    body = comment.compose(report(), source(5), before=[state(1), state(3), state(2, "pass")])
    assert body.state is not None
    assert [past.head for past in body.state.earlier] == [HEADS[3], HEADS[2], HEADS[1]]


@given(st.lists(st.builds(state, st.integers(0, 58), verdicts), max_size=60), sources)
def test_the_history_stays_short_and_sorted(before: list[State], written: Source) -> None:
    body = comment.compose(report(), written, before=before)
    assert body.state is not None
    heads = [past.head for past in body.state.earlier]
    assert len(heads) == len(set(heads)) <= comment.EARLIER
    assert written.head not in heads
    assert heads == sorted(heads, reverse=True)


def test_it_says_how_to_accept_a_regression_only_where_there_is_one_to_accept() -> None:
    waiver = document.Waiver(by="bob", at="2026-11-20T14:02:11Z", commit=HEADS[0])
    hint = "puts the label `accept-regression` on this pull request"
    assert hint in comment.compose(failed(), source(), label="accept-regression").shown
    assert hint not in comment.compose(failed(), source()).shown
    assert hint not in comment.compose(report(), source(), label="accept-regression").shown
    accepted = comment.compose(failed().waived(waiver), source(), label="accept-regression")
    assert hint not in accepted.shown
    assert "Accepted by bob on 2026-11-20 14:02 UTC" in accepted.shown
    later = comment.compose(report(), source(1), before=[accepted.state] if accepted.state else [])
    assert "- ❌ `0000000` failed, accepted by bob" in later.shown


def test_a_report_about_an_earlier_commit_says_so() -> None:
    assert "by now" not in comment.compose(report(), source(), newest=HEADS[0]).shown
    assert "This is about `0000000`; the pull request is at `ffffff1` by now." in (
        comment.compose(report(), source(), newest="ffffff1" + "0" * 33).shown
    )


@pytest.mark.parametrize("char", ["x", "€", "😀", "\\", "|"])
def test_it_stays_within_githubs_limit_however_it_counts(char: str) -> None:
    ids = tuple(f"{index}{char * 190}" for index in range(300))
    interval = IntervalInfo(low=0.0, high=1.0, level=0.95)
    rules = tuple(
        RuleInfo(
            metric="accuracy",
            slice=f"{char * 150}={index}",
            kind="max_regression",
            limit=0.01,
            direction="higher",
            interval=interval,
            outcome="fail",
            difference=-0.1,
            reason=char * 900,
        )
        for index in range(300)
    )
    long = failed(
        rules=rules, flips=FlipsInfo(metric="accuracy", worse=ids, better=ids), warnings=tuple(char * 900 for _ in range(30))
    )
    body = comment.compose(long, source(50), before=[state(index) for index in range(40)], label="accept-regression")
    assert len(body.text) <= len(body.text.encode("utf-16-le")) // 2 <= 65_000
    assert len(body.text.encode()) <= 262_144
    assert "### ❌ digits-cnn" in body.text
    assert "Earlier commits" in body.text
    assert "accept-regression" in body.text


def test_the_same_report_gives_the_same_bytes() -> None:
    assert (
        comment.compose(failed(), source(), before=[state(1)]).text
        == comment.compose(failed(), source(), before=[state(1)]).text
    )
