"""What a check cost: what its trainings used, by their run records, and what was not trained again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metricgate.report import plain
from metricgate.report.document import CostInfo, Report, ReusedInfo
from metricgate.run import Resources, RunRecord

OPENING = "This check cost "

_HOUR_S = 3600.0
_MOST_S = 1e12
"""Seconds; what says more than 30,000 years is no measurement."""
_GPU_NAMES, _NAME_LENGTH = 8, 60
_SHOWN_NAMES = 3


def of(records: Sequence[RunRecord]) -> CostInfo | None:
    """What the trainings behind some runs cost; a run that was reused was not trained, and cost nothing.

    Returns:
        None where no run says what it took.
    """
    trained = [record for record in records if record.reused_from is None and _taken_s(record) is not None]
    if not trained and not any(record.reused_from for record in records):
        return None
    used = [record.resources for record in trained]
    on_gpu = [one for one in used if one.gpu_s]
    seconds = sum(one.gpu_s or 0.0 for one in on_gpu)
    cpu = _sum(one.cpu_s for one in used)
    energy = _sum(one.energy_wh for one in on_gpu)
    return CostInfo(
        trainings=len(trained),
        hours=sum(_taken_s(record) or 0.0 for record in trained) / _HOUR_S,
        cpu_hours=None if cpu is None else cpu / _HOUR_S,
        gpu_hours=seconds / _HOUR_S,
        gpus=_names(on_gpu),
        gpu_peak_memory_bytes=max((one.gpu_peak_memory_bytes for one in on_gpu if one.gpu_peak_memory_bytes), default=None),
        gpu_utilisation=_mean(on_gpu),
        energy_wh=energy if on_gpu else None,
    )


def reused(records: Iterable[RunRecord]) -> tuple[ReusedInfo, ...]:
    """Which runs were not trained again, and the commits at which their trainings are recorded."""
    return tuple(
        ReusedInfo(seed=record.seed, commit=record.reused_from.commit, evaluated=record.reused_from.evaluated)
        for record in records
        if record.reused_from is not None
    )


def told(report: Report) -> str:
    """``This check cost 0.4 GPU-hours (NVIDIA H100, peak 61 GB, 83% busy) and 310 Wh.``; nothing where nothing is known."""
    cost = report.cost
    if cost is None or not cost.trainings:
        return ""
    if not cost.gpu_hours:
        return f"{OPENING}{_time(cost.hours)}{_processors(cost)}."
    details = [plain.text(name, limit=_NAME_LENGTH) for name in cost.gpus[:_SHOWN_NAMES]]
    if len(cost.gpus) > _SHOWN_NAMES:
        details.append("and others")
    if cost.gpu_peak_memory_bytes:
        details.append(f"peak {_figures(cost.gpu_peak_memory_bytes / 1e9)} GB")
    if cost.gpu_utilisation is not None:
        details.append(f"{cost.gpu_utilisation:.0%} busy")
    energy = f" and {_energy(cost.energy_wh)}" if cost.energy_wh is not None else ""
    # 0.1 GPU-hours are what people pay for, and say as much as 6 GPU-minutes.
    time = _time(cost.gpu_hours, prefix="GPU-", least=0.1)
    return f"{OPENING}{time}{' (' + ', '.join(details) + ')' if details else ''}{energy}."


def told_reused(report: Report) -> str:
    """``Seed 1 was not trained again: the same training is recorded at a1b2c3d.``; nothing where all were trained."""
    sentences = []
    for commit in dict.fromkeys(each.commit for each in report.reused):
        seeds = [each.seed for each in report.reused if each.commit == commit]
        named = [str(seed) for seed in seeds if seed is not None]
        which = f"Seed{'s'[: len(named) != 1]} {', '.join(named[:10])}" + (" and more" if len(named) > 10 else "")
        if len(named) < len(seeds):  # runs that were made elsewhere
            which = f"{len(seeds)} run{'s'[: len(seeds) != 1]}"
        were = f"{'was' if len(seeds) == 1 else 'were'} not trained again"
        sentences.append(f"{which} {were}: the same training is recorded at {commit[:7]}.")
    return " ".join(sentences[:_SHOWN_NAMES])


def _taken_s(record: RunRecord) -> float | None:
    seconds = record.times.train_s
    return seconds if seconds is not None and 0 <= seconds <= _MOST_S else None


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where one is not known, since a part is not the whole."""
    known = list(values)
    return sum(value or 0.0 for value in known) if None not in known else None


def _mean(used: Sequence[Resources]) -> float | None:
    known = [(one.gpu_utilisation, one.gpu_s or 0.0) for one in used if one.gpu_utilisation is not None]
    weight = sum(seconds for _, seconds in known)
    return min(1.0, sum(part * seconds for part, seconds in known) / weight) if weight else None


def _names(used: Sequence[Resources]) -> tuple[str, ...]:
    names = {plain.text(name, limit=_NAME_LENGTH) for one in used for name in one.gpu}
    return tuple(sorted(names - {""})[:_GPU_NAMES])


def _processors(cost: CostInfo) -> str:
    if cost.cpu_hours is None or not cost.hours:
        return " of training"
    busy = max(1, round(cost.cpu_hours / cost.hours))
    return f" of {busy:,} processor{'s'[: busy != 1]}"


def _time(hours: float, *, prefix: str = "", least: float = 1.0) -> str:
    """Hours; minutes where there are less than ``least`` hours; seconds where there is less than a minute."""
    if hours >= least:
        text, unit = _figures(hours), "hour"
    elif hours * 60 >= 1:
        text, unit = f"{hours * 60:.0f}", "minute"
    else:
        text, unit = f"{hours * _HOUR_S:.0f}", "second"
    return f"{text} {prefix}{unit}{'s'[: text != '1']}"


def _energy(watt_hours: float) -> str:
    return f"{_figures(watt_hours / 1000)} kWh" if watt_hours >= 1000 else f"{_figures(watt_hours)} Wh"


def _figures(value: float) -> str:
    """Whole from ten on, one decimal below; ``1``, not ``1.0``."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")
