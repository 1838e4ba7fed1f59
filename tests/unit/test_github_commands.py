"""What an action says to its runner, and what nobody can say in its place."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.github import commands
from metricgate.github.commands import Commands


def said(text: str) -> list[str]:
    """The lines that a runner would take for commands."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]


def test_an_annotation_has_only_the_properties_that_are_known() -> None:
    stream = io.StringIO()
    Commands(stream=stream).annotate("error", "too low", title="gate: accuracy", file="a,b.yaml", line=3)
    Commands(stream=stream).annotate("warning", "odd")
    assert stream.getvalue() == "::error title=gate%3A accuracy,file=a%2Cb.yaml,line=3::too low\n::warning::odd\n"


@given(st.text(), st.text())
def test_an_annotation_is_one_command_whatever_its_text(message: str, title: str) -> None:
    stream = io.StringIO()
    Commands(stream=stream).annotate("error", message, title=title)
    assert stream.getvalue().count("\n") == 1
    assert "\r" not in stream.getvalue()
    assert stream.getvalue().startswith("::error")


@given(
    st.lists(
        st.sampled_from(
            ["::error::x", "  ::set-output name=a::b", "##[error]x", "a ##[add-mask]b", "plain", "\n", "\r", "\x85"]
        )
    )
)
def test_what_is_only_said_is_never_a_command(parts: list[str]) -> None:
    stream = io.StringIO()
    Commands(stream=stream).say("".join(parts))
    assert said(stream.getvalue()) == []


def test_beyond_what_github_keeps_annotations_are_printed() -> None:
    stream = io.StringIO()
    runner = Commands(stream=stream)
    for number in range(13):
        runner.annotate("warning", f"number {number}")
    runner.annotate("error", "still an annotation")
    assert len(said(stream.getvalue())) == commands.ANNOTATIONS + 1
    assert "number 12" in stream.getvalue()


def test_nothing_that_others_print_is_a_command() -> None:
    stream = io.StringIO()
    runner = Commands(stream=stream)
    with runner.group("Train"), runner.foreign_output():
        stream.write("::set-output name=verdict::pass\n")
    lines = stream.getvalue().splitlines()
    token = lines[1].removeprefix("::stop-commands::")
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert lines == [
        "::group::Train",
        f"::stop-commands::{token}",
        "::set-output name=verdict::pass",
        f"::{token}::",
        "::endgroup::",
    ]


def test_groups_of_what_others_print_have_commands_of_ours_alone() -> None:
    stream = io.StringIO()
    runner = Commands(stream=stream)
    with runner.foreign_output() as group:
        for seed in range(2):
            with group(f"seed\n{seed}"):
                stream.write("::endgroup::\n")
    lines = stream.getvalue().splitlines()
    tokens = [line.removeprefix("::stop-commands::") for line in lines if line.startswith("::stop-commands::")]
    assert len(set(tokens)) == 5
    assert lines == [
        f"::stop-commands::{tokens[0]}",
        f"::{tokens[0]}::",
        "::group::seed 0",
        f"::stop-commands::{tokens[1]}",
        "::endgroup::",
        f"::{tokens[1]}::",
        "::endgroup::",
        f"::stop-commands::{tokens[2]}",
        f"::{tokens[2]}::",
        "::group::seed 1",
        f"::stop-commands::{tokens[3]}",
        "::endgroup::",
        f"::{tokens[3]}::",
        "::endgroup::",
        f"::stop-commands::{tokens[4]}",
        f"::{tokens[4]}::",
    ]


def test_a_group_ends_when_what_is_in_it_fails() -> None:
    stream = io.StringIO()
    runner = Commands(stream=stream)
    with pytest.raises(ZeroDivisionError), runner.group("Train\nnow"), runner.foreign_output():
        _ = 1 / 0
    assert stream.getvalue().startswith("::group::Train now\n")
    assert stream.getvalue().endswith("::endgroup::\n")


def read_outputs(file: Path) -> dict[str, str]:
    """As GitHub's runner reads them."""
    found, lines = {}, file.read_text().split("\n")
    while lines and lines[0]:
        name, _, delimiter = lines.pop(0).partition("<<")
        value = []
        while (line := lines.pop(0)) != delimiter:
            value.append(line)
        found[name] = "\n".join(value)
    return found


def test_an_output_arrives_whole_and_sets_nothing_else(tmp_path: Path) -> None:
    runner = Commands(stream=io.StringIO(), output_file=tmp_path / "output")
    runner.output("reason", "two\nlines\nverdict=pass\nghadelimiter_1\nEOF")
    runner.output("verdict", "fail")
    assert read_outputs(tmp_path / "output") == {"reason": "two\nlines\nverdict=pass\nghadelimiter_1\nEOF", "verdict": "fail"}


def test_outside_an_action_outputs_and_summary_go_nowhere() -> None:
    stream = io.StringIO()
    runner = Commands(stream=stream)
    runner.output("verdict", "pass")
    runner.summary("# report")
    assert stream.getvalue() == ""


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    stream = io.StringIO()
    Commands(stream=stream).mask("one\ntwo")
    Commands(stream=stream).mask("")
    assert stream.getvalue() == "::add-mask::one\n::add-mask::two\n"


def test_the_summary_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    file.write_text("before\n")
    Commands(stream=io.StringIO(), summary_file=file).summary("# report")
    assert file.read_text() == "before\n# report\n"


@pytest.mark.parametrize("before", [0, 1_000_000, 1_048_000, 2_000_000])
def test_a_summary_that_is_too_long_is_cut_at_a_line_and_says_so(tmp_path: Path, before: int) -> None:
    file = tmp_path / "summary"
    file.write_text("x" * before)
    Commands(stream=io.StringIO(), summary_file=file).summary("é a line of the report\n" * 60_000)
    size = file.stat().st_size
    assert size <= max(before, commands.SUMMARY_BYTES)
    if size > before:
        assert file.read_text().endswith("does not fit into a step summary.*\n")


@given(st.text(alphabet="`ab\n"))
def test_fenced_text_cannot_end_its_fence(text: str) -> None:
    lines = commands.fenced(text).splitlines()
    fence = lines[0].removesuffix("text")
    assert [line for line in lines[1:] if line.startswith(fence)] == [fence]
