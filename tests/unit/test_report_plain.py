"""Text from a repository can't break a table, mention people, inject HTML or links, or hide itself."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it.token import Token
from tests.github_markdown import GITHUB

from metricgate.report import plain

HOSTILE = [
    "a | b",
    "|---|",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details>",
    "[click](https://evil.example)",
    "![pixel](https://evil.example/p.png)",
    "https://evil.example",
    "www.evil.example",
    "mailto:a@evil.example",
    "@octocat",
    "@org/team",
    "#123",
    "GH-123",
    "owner/repo#1",
    "**bold** _under_ ~~gone~~",
    "`code` ``more``",
    "line\nbreak\r\n| x |",
    "\x1b[31mred\x1b[0m",
    "\u202eevil\u202c",
    "zero\u200bwidth",
    "\\",
    "\\|",
    "&lt;b&gt; &#60;b&#62;",
    "$x^2$",
    ":smile:",
    "```\nfence\n```",
    "# heading",
    "- item",
    "1. item",
    "<!-- comment -->",
    "a" * 10_000,
]


def tokens(markdown: str) -> list[Token]:
    flat: list[Token] = []
    for token in GITHUB.parse(markdown):
        flat += [token, *(token.children or [])]
    return flat


def test_plain_words_stay_as_they_are() -> None:
    assert plain.markdown("accuracy, label = 8 (p95) ≥ −0.01") == "accuracy, label = 8 (p95) ≥ −0.01"


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_text_is_one_harmless_cell(value: str) -> None:
    table = f"| head | other |\n|---|---|\n| {plain.markdown(value)} | end |\n"
    parsed = tokens(table)
    assert [token.type for token in parsed].count("td_open") == 2
    kinds = {token.type for token in parsed}
    assert not kinds & {"link_open", "image", "html_inline", "html_block", "code_inline", "em_open", "strong_open", "s_open"}


@pytest.mark.parametrize("value", ["@octocat", "hi @org/team.", "a@b.example", "#123", "owner/repo#5", "GH-123", "gh-9"])
def test_nobody_is_mentioned_and_nothing_is_referred_to(value: str) -> None:
    # GitHub's own filters look at the text after Markdown has been rendered.
    rendered = plain.markdown(value)
    assert not re.search(r"@[A-Za-z0-9]|#\d|(?i:gh)-\d", rendered)


@given(st.text())
def test_no_text_starts_anything(value: str) -> None:
    table = f"| head | other |\n|---|---|\n| {plain.markdown(value)} | end |\n"
    parsed = tokens(table)
    assert [token.type for token in parsed].count("td_open") == 2
    assert {token.type for token in parsed if token.level > 3 or token.type.endswith("inline")} <= {"inline", "text"} | {
        "text_special"
    }


@given(st.text(), st.integers(2, 300))
def test_text_is_one_visible_line_of_at_most_so_many_characters(value: str, limit: int) -> None:
    shown = plain.text(value, limit=limit)
    assert len(shown) <= limit
    assert all(unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for char in shown)
    assert shown == shown.strip()


@given(st.text())
def test_a_chart_label_is_letters_digits_and_few_signs(value: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_ .=+?-]{0,24}", plain.mermaid(value))
