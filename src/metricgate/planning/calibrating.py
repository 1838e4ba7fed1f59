"""``metricgate calibrate``: train seeds of one commit, or take runs that are there, and say how noisy they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import tabulate

from metricgate import config_file, custom_metrics, formats, pipeline
from metricgate.planning import calibration
from metricgate.planning.calibration import Calibration, Noise
from metricgate.report import numbers, plain

SCHEMA = "metricgate.calibration/1"
DEFAULT_SEEDS = (0, 1, 2, 3, 4)


def main(
    config: Path,
    *,
    seeds: Sequence[int] | None,
    runs: Path | None,
    record: bool,
    store: str | None,
    as_json: bool,
    environ: Mapping[str, str],
    progress: TextIO,
) -> str:
    """Calibrate; the answer for standard output.

    Args:
        config: The configuration file.
        seeds: Which seeds to train.
        runs: Runs that are there already, instead of training.
        record: Also record the runs, so that later comparisons know the noise.
        store: Where, instead of what the configuration says.
        as_json: JSON instead of text.
        environ: The environment that commands inherit.
        progress: Standard error.

    Raises:
        MetricgateError: As ``pipeline.produce``, ``calibration.calibrate`` and ``recording.record``.
    """
    loaded = config_file.load(config)
    folder = runs
    if folder is None:
        from metricgate.train import Console

        console = Console(output=sys.stderr.buffer, progress=progress)
        folder = pipeline.produce(
            config.parent, console=console, environ=environ, config=Path(config.name), seeds=tuple(seeds or DEFAULT_SEEDS)
        )
    found = formats.read_runs(folder, id=loaded.scores.id)
    functions = custom_metrics.resolve(loaded, custom_metrics.on_this_machine(config.parent, environ))

    def tell(done: int, pairs: int) -> None:
        if progress.isatty():
            progress.write(f"\rmetricgate: {done} of {pairs} comparisons" if done < pairs else "\r\x1b[K")
            progress.flush()

    told = calibration.calibrate(found, config=loaded, progress=tell, functions=functions)
    if record:
        from metricgate import recording

        progress.write(recording.record(config, folder, store=store, commit=None, environ=environ))
    return to_json(told) if as_json else to_text(told)


def to_json(told: Calibration) -> str:
    """The calibration as JSON: sorted keys, the same bytes for the same runs."""
    document = {
        "schema": SCHEMA,
        "name": told.name,
        "commit": told.commit,
        "seeds": list(told.seeds),
        "runs": told.runs,
        "runs_a_side": told.a_side,
        "disjoint_pairs": told.disjoint,
        "noise": [
            {
                "metric": noise.metric,
                "slice": noise.slice,
                "mean": noise.mean,
                "sd": noise.sd,
                "interval": noise.interval._asdict(),
                "n": noise.n,
            }
            for noise in told.noise
        ],
        "blocked": {
            way.key: {
                "count": way.count,
                "pairs": way.pairs,
                "rate": way.count / way.pairs,
                "interval": way.interval._asdict(),
            }
            for way in told.blocked
        },
        "line": line(told),
        "warnings": list(told.warnings),
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def to_text(told: Calibration) -> str:
    """The calibration for people."""
    seeds = f" (seeds {', '.join(map(str, told.seeds[:20]))}{' …' if len(told.seeds) > 20 else ''})" if told.seeds else ""
    at = f" at {told.commit[:7]}" if told.commit else ""
    table = tabulate.tabulate(
        [_row(noise) for noise in told.noise],
        headers=["", "mean", "sd over seeds", f"{calibration.LEVEL * 100:g}% interval", "examples"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right"),
    )
    pairs = told.blocked[0].pairs
    rates = tabulate.tabulate(
        [
            (way.name, f"{way.count} of {way.pairs}", f"{way.count / way.pairs:.0%}", _between(way.interval))
            for way in told.blocked
        ],
        headers=["", "blocked", "rate", f"{calibration.LEVEL * 100:g}% interval"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "right"),
    )
    runs = f"{told.a_side} run{'s'[: told.a_side != 1]}"
    apart = f"{told.disjoint} pair{'s'[: told.disjoint != 1]}"
    shared = (
        f"The pairs share runs: only {apart} would have none in common, so that far less is known than {pairs} independent "
        "pairs would tell, for which the intervals hold."
    )
    parts = [
        f"{plain.text(told.name)}{at}: {told.runs} runs{seeds}",
        table,
        f"The line for metricgate.yaml, where no recorded runs of the main branch tell it:\n\n{line(told)}",
        f"The commit compared with itself, {runs} a side, {pairs} pairs; each of them blocked is a false alarm:",
        rates,
        shared,
        *(f"⚠️  {plain.text(warning, limit=1000)}" for warning in told.warnings),
    ]
    return "\n\n".join(parts) + "\n"


def line(told: Calibration) -> str:
    """``noise: {accuracy: 0.006}``: the line to add to the configuration."""
    known = [noise for noise in told.noise if noise.slice is None and noise.sd > 0]
    return f"noise: {{{', '.join(f'{noise.metric}: {noise.sd:.2g}' for noise in known)}}}"


def _row(noise: Noise) -> tuple[str, ...]:
    low, high, _ = noise.interval
    where = f", {noise.slice.replace('=', ' = ', 1)}" if noise.slice else ""
    return (
        plain.text(f"{noise.metric}{where}", limit=60),
        numbers.plain(noise.mean),
        f"{noise.sd:.2g}",
        f"{low:.2g} … {high:.2g}" if noise.sd else "",
        f"{noise.n:,}" if noise.n else "",
    )


def _between(interval: tuple[float, float, float]) -> str:
    return f"{interval[0]:.0%} … {interval[1]:.0%}"
