"""``{{name}}`` in the rules and patterns of tags, as docker/metadata-action has it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from metricgate.errors import UsageError

Names = Mapping[str, "str | datetime"]

_EXPRESSION = re.compile(r"\{\{\s*(?P<name>\w+)(?P<arguments>[^{}]*)\}\}")
_FORMAT = re.compile(r"""\s+(?P<quote>['"])(?P<format>[^'"]*)(?P=quote)(?:\s+tz=(?P<other>['"])(?P<tz>[^'"]*)(?P=other))?\s*""")
# The tokens of Moment.js that are numbers; text in square brackets stays.
_TOKENS: Mapping[str, Callable[[datetime], str]] = {
    "YYYY": lambda time: f"{time:%Y}",
    "YY": lambda time: f"{time:%y}",
    "MM": lambda time: f"{time:%m}",
    "DDDD": lambda time: f"{time:%j}",
    "DD": lambda time: f"{time:%d}",
    "HH": lambda time: f"{time:%H}",
    "mm": lambda time: f"{time:%M}",
    "ss": lambda time: f"{time:%S}",
    "X": lambda time: str(int(time.timestamp())),
}
_TOKEN = re.compile(r"\[([^\]]*)\]|" + "|".join(_TOKENS) + r"|[A-Za-z]+")


def render(template: str, names: Names) -> str:
    """Put values in place of names.

    Args:
        template: Such as ``{{major}}.{{minor}}`` or ``{{date 'YYYYMMDD' tz='UTC'}}``.
        names: The values; a time needs a format in the template.

    Raises:
        UsageError: There is no such name, or no such format.

    >>> render("{{major}}.{{minor}}", {"major": "1", "minor": "2"})
    '1.2'
    """
    return _EXPRESSION.sub(lambda match: _value(match["name"], match["arguments"], template, names), template)


def is_only(template: str, name: str) -> bool:
    """Whether a template is one name and nothing else."""
    match = _EXPRESSION.fullmatch(template)
    return match is not None and match["name"] == name and not match["arguments"].strip()


def _value(name: str, arguments: str, template: str, names: Names) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise UsageError(
            f"{{{{{name}}}}} is not known" + (f"; did you mean {{{{{near[0]}}}}}?" if near else ""),
            where=template,
            expected=", ".join(f"{{{{{known}}}}}" for known in names),
        )
    value = names[name]
    if isinstance(value, str):
        return value
    form = _FORMAT.fullmatch(arguments)
    if form is None:
        raise UsageError(
            f"{{{{{name}}}}} has no format",
            where=template,
            expected=f"{{{{{name} 'YYYYMMDD'}}}}",
            fix=f"{{{{{name} 'YYYYMMDD'}}}}",
        )
    try:
        local = value.astimezone(ZoneInfo(form["tz"] or "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        raise UsageError(f"there is no time zone {form['tz']!r}", where=template, expected="such as Europe/Berlin") from None
    return _TOKEN.sub(lambda match: _token(match, local, template), form["format"])


def _token(match: re.Match[str], time: datetime, template: str) -> str:
    if match[1] is not None:
        return match[1]
    if match[0] not in _TOKENS:
        raise UsageError(f"the format {match[0]!r} is not known", where=template, expected=f"{', '.join(_TOKENS)}, or [text]")
    return _TOKENS[match[0]](time)
