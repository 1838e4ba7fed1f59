"""Text from a repository, made harmless: it can't break a table, mention people, inject HTML or links, or hide itself."""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 200

_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~$^])")
_BREAK = "\u200b"  # a zero-width space: GitHub looks for mentions, references and links in the rendered text


def text(value: str, *, limit: int = MAX_LENGTH) -> str:
    """One line without control, bidirectional or invisible characters, cut to ``limit`` characters."""
    if not value.isprintable():  # most texts are, and are not looked at letter by letter
        value = "".join(" " if char.isspace() else char for char in value if char.isspace() or _visible(char))
    shown = " ".join(value.split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def markdown(value: str, *, limit: int = MAX_LENGTH) -> str:
    """The same, with everything that GitHub's Markdown would interpret taken away."""
    shown = text(value, limit=limit)
    shown = _MARKDOWN.sub(r"\\\1", shown)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = re.sub(r"([@#])", r"\1" + _BREAK, shown)
    shown = shown.replace("://", f":{_BREAK}//")
    shown = re.sub(r"(?i)(www|mailto|xmpp|gh)([.:-])", rf"\1{_BREAK}\2", shown)
    # `:x` may become `:x:` by what we write behind it, which GitHub shows as a picture; 14:02 is no picture's name.
    return re.sub(r"(?!(?<=[0-9]):[0-9]{2}\b):(?=[\w+\\-])", f":{_BREAK}", shown)


def mermaid(value: str) -> str:
    """A label for a Mermaid chart: letters, digits and a few signs."""
    return re.sub(r"[^\w .=+-]", "?", text(value, limit=24), flags=re.ASCII)


def _visible(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
