"""A report with any text in it is the same page: one heading, our own folds, and nothing that GitHub would act on."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from metricgate.github import presentation
from metricgate.github.commands import Commands
from metricgate.report import comment, document, markdown, terminal
from metricgate.report.comment import Source
from metricgate.report.document import CostInfo, FlipsInfo, IntervalInfo, Report, ReusedInfo, RuleInfo, SideInfo, UntestedInfo
from tests.hostile import texts

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OURS = re.compile(r"</?(?:details|summary|sub|br)>|<summary>[^<>]*</summary>|<!-- metricgate[^<>]*-->|\s")
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

anything = st.one_of(
    st.sampled_from(sorted(texts.HARMFUL.values())),
    st.text(max_size=60),
    st.lists(st.sampled_from(list("`|<>[]()!@#&*_~$\\\n -=:/{}\"'.0aé\u202e\x1b")), max_size=30).map("".join),
    st.tuples(st.sampled_from(sorted(texts.HARMFUL.values())), st.text(max_size=5)).map("".join),
)


def report_with(text: str) -> Report:
    """That text wherever a stranger's text can come to stand."""

    def rule(number: int, name: str | None) -> RuleInfo:
        return RuleInfo(
            rule=number,
            metric=text or "m",
            slice=name,
            kind="max_regression",
            limit=0.01,
            direction="higher",
            baseline=0.9,
            candidate=0.8,
            difference=-0.1,
            interval=IntervalInfo(low=-0.15, high=-0.05, level=0.95),
            p_value=0.001,
            p_adjusted=0.002,
            mde=0.01,
            n=100,
            method=text,
            noise=text,
            outcome="fail",
            reason=f"`{text}` fell on {text}",
        )

    return Report(
        name=text,
        verdict="fail",
        exit_code=1,
        reasons=(text, f"`{text}`"),
        baseline=SideInfo(commit=text, runs=3, seeds=(0, 1, 2)),
        candidate=SideInfo(commit=text, runs=3, seeds=(0, 10**30)),
        rules=(rule(0, None), rule(1, f"label={text}"), rule(1, f"{text}=b")),
        untested_slices=(UntestedInfo(metric=text, slice=text, n=1, min_n=50),),
        flips=FlipsInfo(metric=text, worse=(text, text), better=(text,)),
        policy_changed=True,
        policy_changes=(f"{text}: {text} → {text}",),
        warnings=(text, f"The column `{text}` is new; {text}"),
        cost=CostInfo(trainings=1, hours=1.0, gpu_hours=1.0, gpus=(text, f"`{text}`")),
        reused=(ReusedInfo(seed=10**30, commit=text), ReusedInfo(commit=f"{text}`")),
    )


def tokens(parsed: list[Token]) -> Iterator[Token]:
    for token in parsed:
        yield token
        yield from tokens(token.children or [])


def check(page: str) -> None:
    """Raise AssertionError where GitHub would make more of a page than we do."""
    hidden = {char for char in page if char not in {"\n", "\u200b"} and unicodedata.category(char) in INVISIBLE}
    assert not hidden, "nothing is invisible but what keeps names from being mentions"
    found = list(tokens(PARSER.parse(page)))
    kinds = [token.type for token in found]
    assert kinds.count("heading_open") == 1
    assert kinds.count("blockquote_open") == kinds.count("code_block") == kinds.count("hr") == kinds.count("image") == 0
    assert [token.info for token in found if token.type == "fence"] in ([], ["mermaid"])
    for token in found:
        if token.type in {"html_block", "html_inline"}:
            assert not OURS.sub("", re.sub(r"<summary>.*?</summary>", "", token.content)), token.content
        if token.type == "link_open":
            assert str(token.attrs["href"]).startswith("https://github.com/acme/")
        if token.type == "text":
            assert not re.search(r"[@#]\w|://|www\.|:(?!\d\d:)[\w+-]+:|(?i:gh)-\d", token.content), token.content
    content = "".join(token.content for token in found if token.type in {"html_block", "html_inline"})
    assert content.count("<details>") == content.count("</details>")
    assert content.count("<summary>") == content.count("</summary>")


@pytest.mark.parametrize("name", texts.HARMFUL)
def test_the_page_of_a_report_with_a_harmful_text(name: str) -> None:
    check(markdown.render(report_with(texts.HARMFUL[name])))


@FUZZ
@given(anything, st.sampled_from([65_000, 8_000, 3_000, 1_000]))
def test_the_page_of_a_report_with_any_text(text: str, budget: int) -> None:
    page = markdown.render(report_with(text), budget=budget)
    assert len(page) <= budget
    check(page)


@FUZZ
@given(anything)
def test_the_comment_about_a_report_with_any_text(text: str) -> None:
    report = report_with(text.encode(errors="replace").decode())
    source = Source(head="a" * 40, run=1, attempt=1, link="https://github.com/acme/model/actions/runs/1")
    first = comment.compose(report, source)
    check(first.text)
    found = comment.read(first.text, report.name)
    assert found is not None, "we find our own comment again, whatever the model is called"
    assert found.state is not None
    later = comment.compose(report, source, before=[found.state], newest="b" * 40, label="accept-regression")
    check(later.text)


@FUZZ
@given(anything)
def test_a_terminal_gets_no_control_characters(text: str) -> None:
    shown = terminal.render(report_with(text))
    assert not {char for char in shown if char != "\n" and unicodedata.category(char) in INVISIBLE}


@FUZZ
@given(anything)
def test_a_runner_gets_no_commands_but_ours(text: str) -> None:
    stream = io.StringIO()
    runner = Commands(stream=stream)
    runner.say(terminal.render(report_with(text)))
    runner.say(text)
    presentation.annotate(runner, report_with(text), path=PurePosixPath("metricgate.yaml"), text="")
    for line in stream.getvalue().splitlines():
        if not line.startswith(("::error ", "::warning ")):
            assert not line.lstrip().startswith("::")
            assert "##[" not in line


@FUZZ
@given(anything)
def test_the_document_is_read_back_as_it_was_written(text: str) -> None:
    written = document.to_json(report_with(text.encode(errors="replace").decode()))
    assert document.to_json(Report.model_validate_json(written)) == written
