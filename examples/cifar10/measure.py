"""Train and evaluate models over seeds and print the table of the README.

A run that is already in the folder is not repeated, so an interrupted measurement goes on where it was:
a training from its last epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TRAINED = re.compile(r"trained in ([\d.]+) s \(([\d.]+) s of processor time\)")


def main() -> None:
    """Read the options, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="such as article=3 for its seeds 0, 1 and 2; nothing: only the table")
    parser.add_argument("--runs", type=Path, default=Path("outputs/runs"), help="default: %(default)s")
    options = parser.parse_args()
    for order in options.models:
        model, _, seeds = order.partition("=")
        for seed in range(int(seeds or 1)):
            measure(model, seed, options.runs.resolve() / model / f"seed-{seed}")
    print(table(options.runs))
    print(f"\n{hardware()}")


def measure(model: str, seed: int, folder: Path) -> None:
    """One training and its evaluation, in ``folder``: train.log, model.keras, metrics.json, scores.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "METRICGATE_SEED": str(seed),
        "METRICGATE_MODEL": str(folder / "model.keras"),
        "METRICGATE_RUN_DIR": str(folder),
        "METRICGATE_CHECKPOINT_DIR": str(folder / "checkpoints"),
    }
    if not (folder / "model.keras").exists():
        with (folder / "train.log").open("a", encoding="utf-8") as log:
            command = [sys.executable, str(HERE / "train.py"), "--model", model]
            subprocess.run(command, env=environment, stdout=log, check=True)
    if not (folder / "metrics.json").exists():
        subprocess.run([sys.executable, str(HERE / "evaluate.py")], env=environment, stdout=sys.stderr, check=True)


def table(runs: Path) -> str:
    """The finished runs as Markdown, one line a model."""
    lines = [
        "| model | test accuracy, mean | sd over seeds | each seed | seeds | training, wall s | processor s |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for model in sorted(path for path in runs.iterdir() if path.is_dir()):
        accuracies, walls, processors = [], [], []
        for metrics in sorted(model.glob("seed-*/metrics.json")):
            accuracies.append(json.loads(metrics.read_text(encoding="utf-8"))["accuracy"]["value"])
            times = TRAINED.findall((metrics.parent / "train.log").read_text(encoding="utf-8"))[-1]
            walls.append(float(times[0]))
            processors.append(float(times[1]))
        if not accuracies:
            continue
        spread = f"{statistics.stdev(accuracies) * 100:.2f}" if len(accuracies) > 1 else "–"
        each = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
        lines.append(
            f"| {model.name} | {statistics.mean(accuracies):.2%} | {spread} | {each} | {len(accuracies)} "
            f"| {statistics.mean(walls):.0f} | {statistics.mean(processors):.0f} |"
        )
    return "\n".join(lines)


def hardware() -> str:
    """The machine in one line."""
    names = re.findall(r"model name\s*:\s*(.+)", _text(Path("/proc/cpuinfo"))) or [platform.processor()]
    features = [name for name in ("amx_bf16", "avx512_bf16") if name in _text(Path("/proc/cpuinfo"))]
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        gpus = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        gpus = "no GPU"
    return f"{os.cpu_count()} cores, {names[0]} ({', '.join(features) or 'no bfloat16'}), {gpus}, {platform.system()}"


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


if __name__ == "__main__":
    main()
