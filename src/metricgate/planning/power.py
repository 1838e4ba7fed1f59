"""``metricgate power``: how many examples and training runs a policy needs, before anything is trained."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import tabulate

from metricgate.errors import UsageError
from metricgate.planning import condition, lifetime
from metricgate.planning.lifetime import Life, shown
from metricgate.report import document, plain
from metricgate.report.document import Report, RuleInfo
from metricgate.stats import power

RUNS = (1, 2, 3, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a metric needs.

    Attributes:
        name: The metric, and where.
        effect: The distance from the limit that is to be seen.
        variance: Of one example's difference.
        noise: The standard deviation over training runs; None where it is not known.
        alpha: The error rate.
        power: The probability to see the effect.
        runs: Runs a side, now or planned.
        examples: Examples now; None for a plan without any.
        two_sided: Whether differences in both directions count.
    """

    name: str
    effect: float
    variance: float
    noise: float | None
    alpha: float
    power: float
    runs: int = 1
    examples: int | None = None
    two_sided: bool = False
    table: tuple[tuple[int, int | None], ...] = field(init=False)

    def __post_init__(self) -> None:
        runs = sorted({*RUNS, self.runs}) if self.noise else [self.runs]
        object.__setattr__(self, "table", tuple((k, self.needed(k)) for k in runs))

    def needed(self, runs: int) -> int | None:
        """Examples with so many runs a side; None where no number is enough."""
        if not self.noise:
            return power.examples_needed(
                variance=self.variance, effect=self.effect, alpha=self.alpha, power=self.power, two_sided=self.two_sided
            )
        alpha = self.alpha / 2 if self.two_sided else self.alpha
        return power.examples_with_noise(
            variance=self.variance, noise=self.noise, runs=runs, effect=self.effect, alpha=alpha, power=self.power
        )

    @property
    def runs_needed(self) -> int | None:
        """Runs a side with today's examples; None where no number is enough or nothing is there to count from."""
        if self.examples is None or self.noise is None:
            return None
        return power.runs_needed(
            variance=self.variance,
            noise=self.noise,
            examples=self.examples,
            effect=self.effect,
            alpha=self.alpha,
            power=self.power,
        )


def main(options: argparse.Namespace) -> str:
    """Plan what was asked for; the answer for standard output.

    Raises:
        UsageError: Options that do not belong together, or not enough to plan from.
        MetricgateError: As ``lifetime.told``, ``of_report``, ``of_metric``.
    """
    given = {
        f"--{'from' if name == 'report' else name.replace('_', '-')}"
        for name in ("reliability", "verdicts", "examples", "adaptivity", "report", "metric", "sd", "noise", "runs", "effect")
        if getattr(options, name) is not None
    }
    of_life = {"--reliability", "--verdicts", "--examples", "--adaptivity"}
    if wrong := sorted(given - of_life if options.condition is not None else given & of_life):
        with_it = "can't stand with a condition" if options.condition is not None else "needs a condition"
        raise UsageError(f"{wrong[0]} {with_it}", fix=f"{condition.EXAMPLE}\nmetricgate power --effect 0.01 --discordance 0.08")
    if options.power is not None and options.power < 0.5:
        raise UsageError(f"the power is {options.power:g}", where="--power", expected="0.5 or more: less is no plan")
    if options.condition is not None:
        defaults = Life(text=options.condition)
        life = Life(
            text=options.condition,
            reliability=options.reliability or defaults.reliability,
            adaptivity=options.adaptivity or defaults.adaptivity,
            verdicts=None if options.examples is not None else options.verdicts or defaults.verdicts,
            examples=options.examples,
            discordance=options.discordance,
            alpha=options.alpha or defaults.alpha,
            power=options.power or defaults.power,
        )
        return lifetime.told(life, as_json=options.json)
    if options.report is not None:
        return of_report(options.report, metric=options.metric, effect=options.effect, as_json=options.json)
    plan = of_metric(
        options.config,
        metric=options.metric,
        effect=options.effect,
        variance=options.sd**2 if options.sd is not None else options.discordance,
        noise=options.noise,
        runs=options.runs,
        alpha=options.alpha,
        wanted=options.power,
        two_sided=options.two_sided,
    )
    return of_plan(plan, as_json=options.json)


def of_report(path: Path, *, metric: str | None, effect: float | None, as_json: bool) -> str:
    """What the rules of a report would need to see their limits, from the variance that was measured.

    Raises:
        UsageError: There is no such metric, or nothing to plan from.
        InputError: The file is no report.
    """
    report = document.read(path)
    rules = [rule for rule in report.rules if rule.kind in {"max_regression", "min_improvement"}]
    known = list(dict.fromkeys(rule.metric for rule in rules))
    if metric is not None and metric not in known:
        raise UsageError(f"no rule compares `{metric}`", where=str(path), expected=f"one of {', '.join(known) or 'none'}")
    plans = [
        plan for rule in rules if metric in {None, rule.metric} if (plan := _of_rule(rule, report, effect=effect)) is not None
    ]
    if not plans:
        raise UsageError(
            "no rule has a limit and a variance to plan from",
            where=str(path),
            expected="rules with max_regression above 0 on scores",
            fix=f"metricgate power --from {path} --effect 0.01",
        )
    if as_json:
        return json.dumps([_plan_json(plan) for plan in plans], indent=2, sort_keys=True) + "\n"
    rows = [
        (
            plain.text(plan.name, limit=60),
            f"{plan.effect:.3g}",
            f"{plan.examples or 0:,}",
            plan.runs,
            shown(plan.needed(plan.runs)),
            "not known" if plan.noise is None else shown(plan.runs_needed),
        )
        for plan in plans
    ]
    headers = ["", "effect", "examples", "runs a side", "examples needed", "or runs a side"]
    table = tabulate.tabulate(
        rows, headers=headers, tablefmt="simple", disable_numparse=True, colalign=("left", *["right"] * 5)
    )
    one = plans[0]
    hopeless = any("never" in row[4:] for row in rows)
    never = "\nnever: no number is enough, since the other part of the noise alone is too large.\n" if hopeless else ""
    head = f"To see the effect with probability {one.power:g} at {one.alpha:g}, one-sided, were it the only rule:"
    return f"{head}\n\n{table}\n{never}"


def of_plan(plan: Plan, *, as_json: bool) -> str:
    """What a metric needs, as text or JSON."""
    if as_json:
        return json.dumps(_plan_json(plan), indent=2, sort_keys=True) + "\n"
    sides = "two-sided" if plan.two_sided else "one-sided"
    head = (
        f"{plan.name}: to see {plan.effect:g} with probability {plan.power:g} at {plan.alpha:g}, {sides}, "
        f"variance of one example's difference {plan.variance:.3g}"
    )
    if not plan.noise:
        unknown = "" if plan.noise is not None else "; how much a new seed changes the metric is not in it: --noise"
        return f"{head}\n\n{shown(plan.needed(plan.runs))} examples{unknown}\n"
    table = tabulate.tabulate(
        [(runs, shown(needed)) for runs, needed in plan.table],
        headers=["runs a side", "examples"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("right", "right"),
    )
    never = "\n\nnever: the training noise alone is too large." if any(needed is None for _, needed in plan.table) else ""
    return f"{head}, training noise {plan.noise:g}\n\n{table}{never}\n"


def _of_rule(rule: RuleInfo, report: Report, *, effect: float | None) -> Plan | None:
    limit = rule.limit * abs(rule.baseline or 0.0) if rule.relative else rule.limit
    wanted = effect if effect is not None else limit
    if wanted <= 0 or rule.mde is None or not rule.n:
        return None
    candidate, baseline = report.candidate.runs, report.baseline.runs + report.baseline.earlier_runs
    if not candidate or not baseline:
        return None
    share = 1 / candidate + 1 / baseline
    noise: float | None = None
    if rule.variance is not None:
        over_examples = rule.variance.examples
        if rule.variance.training is not None:
            noise = math.sqrt(max(rule.variance.training - rule.variance.counted_twice, 0.0) / share)
    elif rule.interval.low is not None and rule.interval.high is not None:
        unit = power.effect_of(variance=1.0, noise=0.0, runs=1, examples=1, alpha=report.alpha, power=report.power)
        over_examples = (rule.mde / unit) ** 2
    else:
        return None
    return Plan(
        name=f"{rule.metric} on {rule.slice}" if rule.slice else rule.metric,
        effect=wanted,
        variance=over_examples * rule.n,
        noise=noise,
        alpha=report.alpha,
        power=report.power,
        runs=min(candidate, baseline),
        examples=rule.n,
    )


def of_metric(
    config_path: Path,
    *,
    metric: str | None,
    effect: float | None,
    variance: float | None,
    noise: float | None,
    runs: int | None,
    alpha: float | None,
    wanted: float | None,
    two_sided: bool,
) -> Plan:
    """A plan from what was typed, and from the configuration for what was not.

    Raises:
        UsageError: There is no effect or no variance to plan for.
        ConfigError: The configuration is wrong.
    """
    from metricgate import config_file

    config = config_file.load(config_path) if metric is not None and config_path.exists() else None
    if config is not None and metric is not None and metric not in config.metrics:
        raise UsageError(
            f"there is no metric `{metric}`", where=str(config_path), expected=f"one of {', '.join(config.metrics)}"
        )
    if effect is None and config is not None:
        limits = [r.limit for r in config.rules if r.metric == metric and r.kind == "max_regression" and not r.slices]
        effect = next((limit.value for limit in limits if not limit.relative and limit.value > 0), None)
    if effect is None or effect <= 0:
        raise UsageError(
            "there is no effect to plan for",
            expected="the loss that is to be seen, more than 0",
            fix="metricgate power --effect 0.01 --discordance 0.08",
        )
    if variance is None:
        raise UsageError(
            "how much one example's difference varies is not known",
            expected="the share of 0/1 scores that change, or the standard deviation of the difference of other scores",
            fix=f"metricgate power --effect {effect:g} --discordance 0.08\nmetricgate power --effect {effect:g} --sd 0.3\n"
            "metricgate power --from report.json",
        )
    return Plan(
        name=metric or "any metric",
        effect=effect,
        variance=variance,
        noise=noise if noise is not None else config.noise.get(metric or "") if config is not None else None,
        alpha=alpha if alpha is not None else config.gate.alpha if config is not None else 0.05,
        power=wanted if wanted is not None else config.gate.power if config is not None else 0.8,
        runs=runs if runs is not None else len(config.train.seeds) if config is not None and config.train else 1,
        two_sided=two_sided,
    )


def _plan_json(plan: Plan) -> dict[str, object]:
    return {
        "metric": plan.name,
        "effect": plan.effect,
        "variance": plan.variance,
        "noise": plan.noise,
        "alpha": plan.alpha,
        "power": plan.power,
        "two_sided": plan.two_sided,
        "runs": plan.runs,
        "examples": plan.examples,
        "examples_needed": plan.needed(plan.runs),
        "runs_needed": plan.runs_needed,
        "table": [{"runs": runs, "examples": needed} for runs, needed in plan.table],
    }
