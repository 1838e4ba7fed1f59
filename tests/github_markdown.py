"""How GitHub reads a text, as far as markdown-it knows it."""

from __future__ import annotations

from markdown_it import MarkdownIt


def _parser() -> MarkdownIt:
    parser = MarkdownIt("gfm-like", {"html": True})
    # This parser also makes a link of what only looks like a host (`0.AL`); GitHub wants `www.` or a scheme before it
    # (GFM specification, section 6.9).
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False})
    parser.linkify.add("www.", {"validate": r"^[\w.-]+"})
    return parser


GITHUB = _parser()
