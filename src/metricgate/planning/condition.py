r"""The condition language of ease.ml/ci: ``n - o > 0.02 +/- 0.01 /\ d < 0.1 +/- 0.01``.

condition = clause { "/\" clause }
clause    = sum ( ">" | "<" ) number [ ( "+/-" | "±" ) number ]
sum       = term { ( "+" | "-" ) term }
term      = [ number "*" ] ( "n" | "o" | "d" )
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from metricgate.errors import UsageError
from metricgate.stats.adaptive import Clause, Variable

VARIABLES = "n (accuracy of the new model), o (of the old one) or d (share of answers that differ)"
EXAMPLE = 'metricgate power --reliability 0.9999 --verdicts 32 --adaptivity full "n - o > 0.02 +/- 0.01"'

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_TOKEN = re.compile(rf"\s*(?:(?P<number>{_NUMBER})|(?P<word>[A-Za-z_]\w*)|(?P<sign>\+/-|±|/\\|>=|<=|&&|[-+*<>])|(?P<other>\S))")
_WORDS = {"new": "n", "candidate": "n", "old": "o", "baseline": "o", "diff": "d", "difference": "d", "and": "/\\"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> tuple[Clause, ...]:
    """Read a condition.

    Raises:
        UsageError: It is none; the error shows the place and what could stand there.

    >>> parse("n - 1.1 * o > 0.01 +/- 0.005")[0].weights
    {'n': 1.0, 'o': -1.1}
    """
    return _Parser(text).condition()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0

    def condition(self) -> tuple[Clause, ...]:
        clauses = [self._clause()]
        while self._take("/\\"):
            clauses.append(self._clause())
        if self._token.kind != "end":
            raise self._error(f"`{self._token.text}` can't stand here", r"`/\` and another clause, or the end")
        return tuple(clauses)

    def _clause(self) -> Clause:
        start = self._token.at
        weights: dict[Variable, float] = {}
        sign = -1.0 if self._take("-") else 1.0
        while True:
            weight, variable = self._term()
            weights[variable] = weights.get(variable, 0.0) + sign * weight
            if self._take("+"):
                sign = 1.0
            elif self._take("-"):
                sign = -1.0
            else:
                break
        if self._token.text in {">=", "<="}:
            raise self._error(
                f"`{self._token.text}` is not in the language", "`>` or `<`: within a tolerance they are the same"
            )
        if not (greater := self._take(">")) and not self._take("<"):
            raise self._error(f"{self._found} can't stand here", "`+`, `-`, `*`, `>` or `<`")
        threshold = -self._number("a threshold") if self._take("-") else self._number("a threshold")
        tolerance: float | None = None
        if self._take("+/-") or self._take("±"):
            at = self._token
            tolerance = self._number("a tolerance")
            if tolerance <= 0:
                raise self._error("the tolerance is 0", "more than 0: no number of examples makes an estimate exact", at=at.at)
        weights = {variable: weight for variable, weight in weights.items() if weight}
        if not weights:
            raise self._error("the variables cancel out", VARIABLES, at=start)
        if tolerance is None and not (set(weights) == {"d"} and greater == (weights["d"] < 0)):
            raise self._error(
                "the clause has no tolerance",
                "`+/- 0.01` behind the threshold; only an upper bound on d can do without, as one that is known",
            )
        return Clause(weights=weights, greater=greater, threshold=threshold, tolerance=tolerance)

    def _term(self) -> tuple[float, Variable]:
        weight = 1.0
        if self._token.kind == "number":
            weight = self._number("a factor")
            if not self._take("*") and self._token.kind != "word":
                raise self._error(f"{self._found} can't stand here", "`*` and a variable: a sum has no constants")
        token = self._token
        for variable in ("n", "o", "d"):
            if self._take(variable):
                return weight, variable
        if token.kind == "word":
            near = _WORDS.get(token.text.lower()) or next(iter(difflib.get_close_matches(token.text.lower(), "nod", n=1)), None)
            raise self._error(f"`{token.text}` is no variable{f'; did you mean `{near}`?' if near else ''}", VARIABLES)
        raise self._error(f"{self._found} can't stand here", VARIABLES)

    def _number(self, what: str) -> float:
        if self._token.kind != "number":
            raise self._error(f"{self._found} can't stand here", f"{what}, a number such as 0.02")
        value = float(self._token.text)
        self._next += 1
        return value

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    @property
    def _found(self) -> str:
        return f"`{self._token.text}`" if self._token.kind != "end" else "the end"

    def _take(self, text: str) -> bool:
        if self._token.text != text:
            return False
        self._next += 1
        return True

    def _error(self, found: str, expected: str, *, at: int | None = None) -> UsageError:
        place = self._token.at if at is None else at
        return UsageError(
            f"{found}\n  {self._text}\n  {' ' * place}^",
            where=f"the condition, character {place + 1}",
            expected=expected,
            fix=EXAMPLE,
        )


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:  # blanks only, which rstrip took away
            break
        kind = str(match.lastgroup)
        word = match[kind]
        if word == "&&" or word.lower() == "and":
            word = "/\\"
        yield _Token(kind, word, match.start(kind))
        at = match.end()
    yield _Token("end", "", len(stripped))
