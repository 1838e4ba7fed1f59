"""Score columns summed up in one pass, batch by batch, on all examples and on slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metricgate.groups import Groups
from metricgate.side import Side
from metricgate.stats.scatter import Scatter

Scatters = tuple[Scatter, ...]


def reduce(
    sides: Sequence[Side], column: str, *, slices: Mapping[str, Groups], clusters: Groups | None = None, apart: bool = False
) -> dict[str | None, Scatters]:
    """The scatter of a column on all examples (None) and on every slice of the columns named.

    The batches come in the order of the file and are merged in that order by one thread, so that the same files give the same
    numbers to the last digit.

    Args:
        sides: One side, or two whose examples are in the same order.
        column: The scores.
        slices: By column, the slice of each example.
        clusters: The cluster of each example.
        apart: Each run of the one side by itself, since nobody knows which of their rows belong together.
    """
    width = len(clusters.names) if clusters else 0
    runs = [[1]] * len(sides[0].runs) if apart else [[len(side.runs) for side in sides]]
    groupings: dict[str | None, Groups | None] = dict(slices.items()) if slices else {None: None}
    found = {
        name: [Scatter.empty(each, groups=len(groups.names) if groups else 1, width=width) for each in runs]
        for name, groups in groupings.items()
    }
    start = 0
    for batch in zip(*(side.batches(column) for side in sides), strict=True):
        at = slice(start, start + batch[0].shape[1])
        blocks = [[run[None]] for run in batch[0]] if apart else [batch]
        for name, groups in groupings.items():
            for index, block in enumerate(blocks):
                scatter = Scatter.of(
                    block,
                    codes=groups.codes[at] if groups else None,
                    groups=len(groups.names) if groups else 1,
                    clusters=clusters.codes[at] if clusters else None,
                    width=width,
                )
                found[name][index] = found[name][index].merge(scatter)
        start = at.stop
    result = {name: tuple(scatters) for name, scatters in found.items()}
    if None not in result:
        result[None] = tuple(scatter.total() for scatter in next(iter(result.values())))
    return result
