"""Which engine reads score tables: DuckDB, Polars or pyarrow, on the same task, against only reading with pyarrow.

``table_tasks`` is the task. Wall time is of whole processes, imports included, because a comparison is a process too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import tabulate

from benchmarks import measure, table_tasks

TASKS = str(Path(table_tasks.__file__))
# What each engine brings along that the core does not have anyway.
PACKAGES = {"duckdb": ("duckdb",), "polars": ("polars", "polars-runtime-32"), "pyarrow": ("pyarrow",)}
NAMES = {"duckdb": "DuckDB", "polars": "Polars", "pyarrow": "pyarrow", "score_table": "`ScoreTable` (DuckDB, all checks)"}
SLICES = 20
LIMITS_MB = (512, 768, 1024, 1536, 2048, 3072, 4096)


def main(arguments: Sequence[str] | None = ()) -> None:
    """Print the tables of ``docs/table-engine.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table_engine", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="examples per file (default: %(default)s)")
    parser.add_argument(
        "--large-rows", type=int, default=4_000_000, help="the same for the memory table (default: %(default)s)"
    )
    parser.add_argument("--pairs", type=int, default=7, help="runs of each task (default: %(default)s)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        _print(_speed(here, rows=options.rows, pairs=options.pairs))
        _print(_weight(here, pairs=options.pairs))
        _print(_memory(here, rows=options.large_rows))
        _print(_determinism(here, rows=options.rows))
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}" for package in ("duckdb", "polars", "pyarrow", "numpy")
    )
    print(f"{measure.machine()}; {versions}")


def _speed(here: Path, *, rows: int, pairs: int) -> list[dict[str, str]]:
    """Time and memory of the task, against reading."""
    table = []
    for order in ("same", "shuffled"):
        files = here / order
        _write(files, rows=rows, shuffle=order == "shuffled")
        _check_same_answer(files)
        for engine, name in NAMES.items():
            measured = measure.ratio(_task(engine, files), _task("read", files), cwd=here, pairs=pairs)
            table.append(
                {
                    f"6 × {rows:,} rows": name,
                    "order of ids": order,
                    "wall (s)": f"{measured.a.wall_s:.2f}",
                    "/ reading": f"{measured.ratio:.2f}",
                    "processor (s)": f"{measured.a.cpu_s:.2f}",
                    "/ that of reading": f"{measured.a.cpu_s / measured.b.cpu_s:.2f}",
                    "peak (MB)": f"{measured.a.peak_mb:.0f}",
                    "reading: wall (s), peak (MB)": f"{measured.b.wall_s:.2f}, {measured.b.peak_mb:.0f}",
                }
            )
    return table


def _weight(here: Path, *, pairs: int) -> list[dict[str, str]]:
    """What it costs to have the engine: disk and imports."""
    table = []
    for engine, packages in PACKAGES.items():
        imports = "pyarrow.parquet, pyarrow.compute" if engine == "pyarrow" else engine
        measured = measure.ratio(
            [sys.executable, "-c", f"import numpy, {imports}"],
            [sys.executable, "-c", "import numpy"],
            cwd=here,
            pairs=2 * pairs,
        )
        table.append(
            {
                "engine": NAMES[engine],
                "installed (MB)": f"{sum(map(_installed_bytes, packages)) / 1e6:.0f}",
                "import, with numpy (s)": f"{measured.a.wall_s:.2f}",
                "numpy alone (s)": f"{measured.b.wall_s:.2f}",
                "/ numpy alone": f"{measured.ratio:.2f}",
            }
        )
    return table


def _memory(here: Path, *, rows: int) -> list[dict[str, str]]:
    """How much memory of its own (``RLIMIT_DATA``) a process needs to finish, and how it ends with less."""
    files = here / "large"
    _write(files, rows=rows, shuffle=True)
    table = []
    for engine in ("read", *NAMES):
        ends = []
        for limit in LIMITS_MB:
            ends.append(subprocess.run(_task(engine, files, str(limit)), check=False, capture_output=True).returncode)
            if ends[-1] == 0:
                break
        short = [f"{limit}: {'abort' if code < 0 else 'error'}" for limit, code in zip(LIMITS_MB, ends, strict=False) if code]
        table.append(
            {
                f"6 × {rows:,} rows, shuffled": NAMES.get(engine, "only reading, pyarrow"),
                "enough (MB)": str(LIMITS_MB[len(ends) - 1]) if ends[-1] == 0 else f"more than {LIMITS_MB[-1]}",
                "with less": "; ".join(short) or "–",
            }
        )
    return table


def _determinism(here: Path, *, rows: int) -> list[dict[str, str]]:
    """Means per slice by the engine itself, twenty times over one file of many row groups: how many different answers."""
    file = here / "groups.parquet"
    _write_file(file, np.arange(rows), np.random.default_rng(0), rows_per_group=50_000)
    return [
        {
            "means per slice, 20 times": NAMES[engine],
            "different answers": subprocess.run(
                [sys.executable, TASKS, f"means_{engine}", str(file)], check=True, capture_output=True, text=True
            ).stdout.strip(),
        }
        for engine in PACKAGES
    ]


def _task(engine: str, files: Path, *more: str) -> list[str]:
    return [sys.executable, TASKS, engine, str(files), *more]


def _check_same_answer(files: Path) -> None:
    answers = {engine: subprocess.check_output(_task(engine, files), text=True) for engine in NAMES}
    if len(set(answers.values())) != 1:
        message = f"the engines disagree: {answers}"
        raise RuntimeError(message)


def _installed_bytes(package: str) -> int:
    files = importlib.metadata.files(package) or []
    return sum(path.stat().st_size for path in (Path(str(file.locate())) for file in files) if path.is_file())


def _write(folder: Path, *, rows: int, shuffle: bool) -> None:
    """Three tables a side; shuffled ones have the candidate's rows in an order of their own."""
    folder.mkdir()
    for seed, name in enumerate(table_tasks.FILES):
        random = np.random.default_rng(seed)
        order = random.permutation(rows) if shuffle and name.startswith("candidate") else np.arange(rows)
        _write_file(folder / name, order, random)


def _write_file(file: Path, order: np.ndarray, random: np.random.Generator, *, rows_per_group: int | None = None) -> None:
    columns = {
        table_tasks.ID: pa.array([f"ex-{i}" for i in order.tolist()]),
        table_tasks.SLICE: order * 2_654_435_761 % 2**32 % SLICES,
        "accuracy": random.random(len(order)) < 0.9,
        table_tasks.SCORE: random.exponential(size=len(order)),
    }
    pyarrow.parquet.write_table(pa.table(columns), file, row_group_size=rows_per_group)


def _print(table: list[dict[str, str]]) -> None:
    print(tabulate.tabulate(table, headers="keys", tablefmt="pipe", disable_numparse=True), end="\n\n", flush=True)


if __name__ == "__main__":
    main(None)
