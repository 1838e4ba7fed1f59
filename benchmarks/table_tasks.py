"""The work of a comparison's table half, written for each candidate engine as its documentation would have it.

Six score tables, three a side: read them, check that ids are unique, bring every table into the first one's order by id, take
the score column out as numpy arrays, and take means per slice with numpy, so that the arithmetic is the same for everyone.
Run as a script, one engine per process: ``python benchmarks/table_tasks.py ENGINE FOLDER [MEGABYTES]`` prints a digest of the
means; with MEGABYTES the process may not have more memory of its own than that.
"""

from __future__ import annotations

import hashlib
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ID, SCORE, SLICE = "example_id", "loss", "label"
FILES = tuple(f"{side}-{seed}.parquet" for side in ("baseline", "candidate") for seed in range(3))

# The same for every engine that takes one; the others get no limit because they have none to set.
DUCKDB_MEMORY = "512MB"


def means_of_slices(scores: Sequence[NDArray[np.float64]], codes: NDArray[Any], names: Sequence[str]) -> str:
    """The last step of every engine's task."""
    import numpy as np

    sizes = np.bincount(codes, minlength=len(names))
    means = [np.bincount(codes, weights=column, minlength=len(names)) / sizes for column in scores]
    return hashlib.sha256(
        repr([(name, [float(mean[i]) for mean in means]) for i, name in enumerate(names)]).encode()
    ).hexdigest()


def read_pyarrow(files: Sequence[Path]) -> str:
    """What the others are compared with: only reading."""
    import pyarrow.parquet

    return str(sum(pyarrow.parquet.read_table(file).num_rows for file in files))


def pyarrow(files: Sequence[Path]) -> str:
    import pyarrow.compute as pc
    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(file, columns=[ID, SCORE, SLICE]) for file in files]
    first = tables[0]
    scores = []
    for table in tables:
        assert pc.count_distinct(table[ID]).as_py() == len(table)
        values = table[SCORE].to_numpy()
        if table[ID].equals(first[ID]):
            scores.append(values)
        else:
            order = pc.index_in(first[ID], value_set=table[ID].combine_chunks())
            assert order.null_count == 0
            scores.append(values[order.to_numpy()])
    encoded = first[SLICE].combine_chunks().dictionary_encode()
    names = sorted(encoded.dictionary.to_pylist())
    codes = pc.index_in(first[SLICE], value_set=pyarrow.array(names)).to_numpy()
    return means_of_slices(scores, codes, [str(name) for name in names])


def polars(files: Sequence[Path]) -> str:
    import polars as pl

    tables = [pl.read_parquet(file, columns=[ID, SCORE, SLICE]) for file in files]
    first = tables[0]
    scores = []
    for table in tables:
        assert table[ID].n_unique() == len(table)
        if table[ID].equals(first[ID]):
            scores.append(table[SCORE].to_numpy())
        else:
            joined = first.select(ID).join(table.select(ID, SCORE), on=ID, how="left", maintain_order="left")
            assert joined[SCORE].null_count() == 0
            scores.append(joined[SCORE].to_numpy())
    names = first[SLICE].unique().sort()
    coded = pl.DataFrame({SLICE: names}).with_row_index("code")
    codes = first.select(SLICE).join(coded, on=SLICE, how="left", maintain_order="left")["code"].to_numpy()
    return means_of_slices(scores, codes, [str(name) for name in names])


def duckdb(files: Sequence[Path]) -> str:
    import duckdb
    import numpy as np

    connection = duckdb.connect(config={"memory_limit": DUCKDB_MEMORY, "temp_directory": str(files[0].parent / "spill")})

    def arrays(statement: str) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = connection.execute(statement).fetchnumpy()
        return columns

    sources = [f"read_parquet('{file}')" for file in files]
    numbered = [f"(SELECT row_number() OVER () - 1 AS p, {ID} AS id FROM {source})" for source in sources]
    scores = []
    for source, ids in zip(sources, numbered, strict=True):
        (rows, distinct) = connection.execute(f"SELECT count(*), count(DISTINCT {ID}) FROM {source}").fetchall()[0]
        assert rows == distinct
        values = arrays(f"SELECT {SCORE} AS v FROM {source}")["v"]
        side_by_side = f"(SELECT {ID} AS a FROM {sources[0]}) POSITIONAL JOIN (SELECT {ID} AS b FROM {source})"
        if connection.execute(f"SELECT 1 FROM {side_by_side} WHERE a IS DISTINCT FROM b LIMIT 1").fetchall():
            pairs = arrays(f"SELECT x.p AS a, y.p AS b FROM {numbered[0]} x JOIN {ids} y USING (id)")
            assert len(pairs["a"]) == rows
            order = np.empty(rows, dtype=np.int64)
            order[pairs["a"]] = pairs["b"]
            values = values[order]
        scores.append(values)
    names = [name for (name,) in connection.execute(f"SELECT DISTINCT {SLICE} FROM {sources[0]} ORDER BY 1").fetchall()]
    codes = np.searchsorted(np.array(names), arrays(f"SELECT {SLICE} AS v FROM {sources[0]}")["v"])
    return means_of_slices(scores, codes, [str(name) for name in names])


def score_table(files: Sequence[Path]) -> str:
    """What metricgate itself does, with all its checks."""
    from metricgate.score_table import ScoreTable

    tables = [ScoreTable.open(file, id=ID) for file in files]
    orders = [tables[0].align(table).order for table in tables]
    groups = tables[0].groups(SLICE)
    scores = [table.scores(SCORE)[slice(None) if order is None else order] for table, order in zip(tables, orders, strict=True)]
    return means_of_slices(scores, groups.codes, groups.names)


def means_pyarrow(file: Path) -> str:
    import pyarrow.parquet

    means = pyarrow.parquet.read_table(file).group_by(SLICE).aggregate([(SCORE, "mean")])
    return repr(sorted(means.to_pylist(), key=lambda row: str(row[SLICE])))


def means_polars(file: Path) -> str:
    import polars as pl

    return repr(pl.scan_parquet(file).group_by(SLICE).agg(pl.col(SCORE).mean()).sort(SLICE).collect().rows())


def means_duckdb(file: Path) -> str:
    import duckdb

    return repr(duckdb.execute(f"SELECT {SLICE}, avg({SCORE}) FROM read_parquet('{file}') GROUP BY 1 ORDER BY 1").fetchall())


ENGINES: dict[str, Callable[[Sequence[Path]], str]] = {
    "read": read_pyarrow,
    "duckdb": duckdb,
    "polars": polars,
    "pyarrow": pyarrow,
    "score_table": score_table,
}
MEANS: dict[str, Callable[[Path], str]] = {"duckdb": means_duckdb, "polars": means_polars, "pyarrow": means_pyarrow}


if __name__ == "__main__":
    what, place = sys.argv[1], Path(sys.argv[2])
    if len(sys.argv) > 3:
        resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[3]) * 2**20,) * 2)
    if what in ENGINES:
        print(ENGINES[what]([place / name for name in FILES]))
    else:
        print(len({MEANS[what.removeprefix("means_")](place) for _ in range(20)}))
