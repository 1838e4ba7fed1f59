"""What `actions/setup` takes on a fresh machine, and on one that has the environment already.

Cold is measured beside the ordinary way to install the same lock, `python -m venv` and `pip install`, both without any cache of
packages: what remains is the network's share. Goals: cold under 15 s and 300 MB, warm under 0.5 s.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import tabulate

from benchmarks import measure

PROJECT = Path(__file__).parents[1]


def main(*, pairs: int = 3, warm: int = 21) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        environ = _environ(here)
        action: list[str | Path] = ["bash", _copy(here / "metricgate") / "actions" / "setup" / "run.sh", "setup"]
        lock = here / "metricgate" / "requirements" / "core.txt"
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(pairs):
            shutil.rmtree(here / "tools", ignore_errors=True)
            shutil.rmtree(here / "venv", ignore_errors=True)
            ours.append(_seconds(action, environ))
            theirs.append(
                _seconds(["python3", "-m", "venv", here / "venv"], environ)
                + _seconds([here / "venv/bin/python", "-m", "pip", "install", "-q", "--require-hashes", "-r", lock], environ)
            )
        again = [_seconds(action, environ) for _ in range(warm)]
        bare = [_seconds(["python3", "-c", "pass"], environ) for _ in range(warm)]
        sizes = [_megabytes(here / name) for name in ("tools", "venv")]
    cold, pip, found, nothing = (statistics.median(times) for times in (ours, theirs, again, bare))
    rows = [
        ["`actions/setup`, cold", f"{cold:.1f} s", f"{sizes[0]:.0f} MB"],
        ["venv and pip, cold", f"{pip:.1f} s", f"{sizes[1]:.0f} MB"],
        ["ratio", f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}", f"{sizes[0] / sizes[1]:.2f}"],
        ["`actions/setup`, warm", f"{found * 1000:.0f} ms", ""],
        ["`python -c pass`", f"{nothing * 1000:.0f} ms", ""],
        ["ratio", f"{found / nothing:.1f}", ""],
    ]
    print(tabulate.tabulate(rows, headers=["", "time", "size"], tablefmt="github", disable_numparse=True))
    print(f"\nGoals: cold under 15 s and 300 MB, warm under 500 ms. Medians of {pairs} cold pairs in turn, {warm} warm ones.")
    print(measure.machine())


def _copy(folder: Path) -> Path:
    """metricgate as a runner fetches it: what is committed, so that work in the repository meanwhile changes nothing."""
    archive = folder.with_suffix(".tar")
    subprocess.run(["git", "-C", PROJECT, "archive", f"--output={archive}", "HEAD"], check=True)
    shutil.unpack_archive(archive, folder, filter="data")
    return folder


def _environ(here: Path) -> Mapping[str, str]:
    # The interpreter itself, not a version manager's script in front of it, and no cache of packages.
    (here / "bin").mkdir()
    (here / "bin" / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "PYTHON"))}
    path = f"{here / 'bin'}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "RUNNER_TOOL_CACHE": str(here / "tools"), "PIP_NO_CACHE_DIR": "1"}


def _seconds(command: Sequence[str | Path], environ: Mapping[str, str]) -> float:
    started = time.perf_counter()
    finished = subprocess.run([str(part) for part in command], env=dict(environ), capture_output=True, check=False)
    if finished.returncode:
        raise RuntimeError(finished.stderr.decode(errors="replace"))
    return time.perf_counter() - started


def _megabytes(folder: Path) -> float:
    """What the files hold; a link counts as nothing."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_symlink()) / 1e6


if __name__ == "__main__":
    main()
