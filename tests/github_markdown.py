"""How GitHub reads a text, as far as markdown-it knows it."""

from __future__ import annotations

from markdown_it.token import Token


def is_a_guess(token: Token, text: str) -> bool:
    """Whether this parser makes a link of what only looks like a host (`0.AL`); GitHub wants `www.` or a scheme before it."""
    href = str(token.attrs.get("href", ""))
    bare = href.removeprefix("http://")
    return token.markup == "linkify" and bare != href and href not in text and not bare.lower().startswith("www.")
