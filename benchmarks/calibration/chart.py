"""The rates as a dot plot, written by hand: one line a regime, a band for the goal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.calibration.rates import ALPHA, Row

LEFT, WIDTH, LINE, TOP = 520, 420, 16, 46
MOST = 2.0
"""Times alpha: what lies beyond is drawn at the edge."""


_TITLE = "false fails (filled), false passes (hollow) / alpha; band: the goal from 200 examples on; line: the most anywhere"


def draw(rows: Sequence[Row]) -> str:
    """An SVG of false fails (filled) and false passes (hollow) as multiples of alpha."""
    height = TOP + LINE * len(rows) + 20
    size = f'width="{LEFT + WIDTH + 30}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<rect x="{_at(0.5):.1f}" y="{TOP - 8}" width="{_at(1.1) - _at(0.5):.1f}" height="{height - TOP}" fill="#e3f0e3"/>',
        f'<text x="{LEFT}" y="16">{_TITLE}</text>',
    ]
    for tick in (0.0, 0.5, 1.0, 1.3, 2.0):
        colour = "#b03030" if tick == 1.3 else "#cccccc"
        parts += [
            f'<line x1="{_at(tick):.1f}" x2="{_at(tick):.1f}" y1="{TOP - 8}" y2="{height - 16}" stroke="{colour}"/>',
            f'<text x="{_at(tick):.1f}" y="{TOP - 12}" text-anchor="middle">{tick:g}</text>',
        ]
    for index, row in enumerate(rows):
        y = TOP + LINE * index + 8
        label = escape(f"{row.method}, n = {row.n}: {row.regime}")
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end" font-size="9">{label}</text>')
        for rate, fill in ((row.passes, "white"), (row.fails, "#2f5f9f")):
            if rate is not None:
                parts += _dot(row, rate, y=y, fill=fill)
    return "\n".join([*parts, "</svg>", ""])


def _dot(row: Row, rate: float, *, y: int, fill: str) -> list[str]:
    error = row.error(rate)
    low, high = _at((rate - error) / ALPHA), _at((rate + error) / ALPHA)
    return [
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="#2f5f9f"/>',
        f'<circle cx="{_at(rate / ALPHA):.1f}" cy="{y}" r="3.2" fill="{fill}" stroke="#2f5f9f"/>',
    ]


def _at(multiple: float) -> float:
    return LEFT + WIDTH * min(max(multiple, 0.0), MOST) / MOST
