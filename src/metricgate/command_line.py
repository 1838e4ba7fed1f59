"""What can be typed behind ``metricgate``: the commands, their options and their help."""

from __future__ import annotations

import argparse
from pathlib import Path

from metricgate import __version__, options, release_options, tune_options


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``command`` is the name of the one that was given, or None."""
    whole = argparse.ArgumentParser(
        prog="metricgate",
        description="Compares models, says how sure it is, and blocks a merge only when the evidence says regression.",
        epilog="example:\n  metricgate init\n  metricgate run\n  metricgate compare baseline/ candidate/\n\n"
        + options.EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"metricgate {__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", dest="command")

    init = options.command(commands, "init", "write a commented metricgate.yaml and a workflow", "metricgate init")
    init.add_argument("folder", nargs="?", type=Path, default=Path(), help="the repository (default: here)")

    for name, what in (
        ("run", "train and evaluate: one run per seed"),
        ("train", "train only: one run folder per seed"),
        ("evaluate", "evaluate what was trained and check what it wrote"),
    ):
        stage = options.command(commands, name, what, f"metricgate {name} --seeds 0,1,2")
        options.config(stage)
        stage.add_argument(
            "--run-dir", type=Path, metavar="FOLDER", help="where the runs go (default: .metricgate/runs/COMMIT)"
        )
        stage.add_argument("--seeds", type=_seeds, metavar="0,1,2", help="instead of those of the configuration")
        if name != "evaluate":
            stage.add_argument(
                "--again", action="store_true", help="train although the same training is recorded (with `train: {inputs: …}`)"
            )

    compare = options.command(
        commands,
        "compare",
        "compare two sets of runs, judge, write the report, exit with the verdict's code",
        "metricgate compare .metricgate/runs/a1b2c3d .metricgate/runs/e4f5a6b\n"
        "  metricgate compare baseline/ candidate/ --config metricgate.yaml --json report.json --markdown report.md\n"
        "  metricgate compare old/scores.csv new/scores.csv --history main-runs/",
    )
    for name in ("baseline", "candidate"):
        compare.add_argument(
            name, metavar=name.upper(), type=Path, help="a run folder, a folder of run folders, or one file in any known format"
        )
    options.config(compare)
    compare.add_argument(
        "--history", type=Path, metavar="FOLDER", help="recorded runs of the main branch, for the training noise"
    )
    compare.add_argument(
        "--store",
        metavar="FOLDER",
        help="count this verdict on the test set there: a folder, or `branch` (default: not counted)",
    )
    compare.add_argument("--json", type=Path, metavar="FILE", help="write report.json (- is standard output)")
    compare.add_argument("--markdown", type=Path, metavar="FILE", help="write the report as Markdown (- is standard output)")

    record = options.command(
        commands,
        "record",
        "keep runs where later comparisons find them",
        "metricgate record\n  metricgate record .metricgate/runs/a1b2c3d --store /shared/recorded-runs",
    )
    record.add_argument(
        "runs", nargs="?", type=Path, metavar="RUNS", help="default: the runs of the commit that is checked out"
    )
    record.add_argument("--commit", metavar="COMMIT", help="of which commit they are, where they don't say it")

    baseline = options.command(
        commands,
        "baseline",
        "find the nearest recorded ancestor, copy its runs out, print the folder",
        "metricgate baseline --list\n  metricgate compare $(metricgate baseline) .metricgate/runs/e4f5a6b",
    )
    baseline.add_argument("commit", nargs="?", default="HEAD", metavar="COMMIT", help="the change (default: HEAD)")
    baseline.add_argument("--base", default="main", metavar="BRANCH", help="what the change goes into (default: main)")
    baseline.add_argument("--output", metavar="FOLDER", help="where the runs go (default: .metricgate/baseline)")
    baseline.add_argument("--list", action="store_true", help="list what is recorded instead")
    baseline.add_argument("--json", action="store_true", help="print what was found as JSON")
    for stage in (record, baseline):
        options.config(stage)
        stage.add_argument(
            "--store",
            metavar="FOLDER",
            help="a folder, or `branch` for that of the repository on GitHub, with GITHUB_TOKEN and GITHUB_REPOSITORY "
            "(default: as the configuration says)",
        )

    comment = options.command(
        commands,
        "comment",
        "comment a report on a pull request, or update the comment, with GITHUB_TOKEN and GITHUB_REPOSITORY",
        "metricgate comment report.json --pull-request 7",
    )
    comment.add_argument("report", metavar="REPORT", type=Path, help="a report.json")
    comment.add_argument("--pull-request", type=int, required=True, metavar="N", help="its number")
    comment.add_argument(
        "--when", choices=("always", "on_change", "on_problem", "never"), default="on_change", help="default: on_change"
    )

    gate = options.command(commands, "gate", "exit with the code of a report", "metricgate gate report.json")
    gate.add_argument("report", metavar="REPORT", type=Path, help="a report.json")

    report = options.command(
        commands, "report", "render a report", "metricgate report report.json --format markdown > report.md"
    )
    report.add_argument("report", metavar="REPORT", type=Path, help="a report.json")
    report.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="how (default: text)")
    report.add_argument(
        "--budget", type=int, default=65_000, metavar="N", help="most characters of the Markdown (default: 65000)"
    )

    _power_options(
        options.command(
            commands,
            "power",
            "plan: how many examples and training runs a limit needs, and how many verdicts a test set lasts",
            'metricgate power --reliability 0.9999 --verdicts 32 --adaptivity full "n - o > 0.02 +/- 0.01"\n'
            '  metricgate power --examples 20000 "d < 0.1 /\\ n - o > 0 +/- 0.02"\n'
            "  metricgate power --metric accuracy --effect 0.01 --discordance 0.08 --noise 0.006 --runs 3\n"
            "  metricgate power --from report.json",
        )
    )

    release_options.add(commands)
    tune_options.add(commands)
    _calibrate_options(commands)

    options.command(
        commands, "schema", "print the JSON Schema of metricgate.yaml", "metricgate schema > metricgate.schema.json"
    )

    demo = options.command(
        commands,
        "demo",
        "train, compare and judge a small real model, start to end",
        "metricgate demo --output demo-output",
    )
    demo.add_argument("--output", type=Path, default=Path("demo-output"), metavar="FOLDER", help="default: demo-output")

    action = options.command(commands, "action", argparse.SUPPRESS, "metricgate action check")
    action.add_argument("stage", help="what the composite action does; its inputs are METRICGATE_INPUT_* variables")
    return whole


def _calibrate_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    calibrate = options.command(
        commands,
        "calibrate",
        "measure the training noise of one commit, and how often the policy would have blocked it against itself",
        "metricgate calibrate --seeds 0-4\n  metricgate calibrate --runs .metricgate/runs/a1b2c3d",
    )
    options.config(calibrate)
    which = calibrate.add_mutually_exclusive_group()
    which.add_argument("--seeds", type=_seeds, metavar="0-4", help="which seeds to train (default: 0-4)")
    which.add_argument("--runs", type=Path, metavar="FOLDER", help="runs of one commit that are there, instead of training")
    calibrate.add_argument("--record", action="store_true", help="record the runs, so that later comparisons know the noise")
    calibrate.add_argument("--store", metavar="FOLDER", help="where to record (default: as the configuration says)")
    calibrate.add_argument("--json", action="store_true", help="print JSON")


def _power_options(power: argparse.ArgumentParser) -> None:
    power.add_argument(
        "condition",
        nargs="?",
        metavar="CONDITION",
        help="in the language of ease.ml/ci: n is the accuracy of the new model, o of the old one, d the share of answers that "
        "differ; several clauses with /\\",
    )
    life = power.add_argument_group("with a condition")
    life.add_argument("--reliability", type=_share, metavar="R", help="that no verdict of all is wrong (default: 0.99)")
    many = life.add_mutually_exclusive_group()
    many.add_argument("--verdicts", type=_count, metavar="N", help="how many verdicts the test set answers (default: 32)")
    many.add_argument("--examples", type=_count, metavar="N", help="instead: how many verdicts so many labelled examples last")
    life.add_argument(
        "--adaptivity",
        choices=("none", "first-change", "full"),
        help="who learns from a verdict: nobody, nobody until a change passes, everybody (default: full)",
    )
    plan = power.add_argument_group("without a condition")
    plan.add_argument("--from", dest="report", type=Path, metavar="REPORT", help="take the variance from a report.json")
    plan.add_argument("--metric", metavar="NAME", help="take limit, noise, alpha and power from the configuration")
    plan.add_argument("--effect", type=_positive, metavar="X", help="the distance from the limit that is to be seen")
    plan.add_argument("--sd", type=_positive, metavar="X", help="standard deviation of one example's difference")
    plan.add_argument("--noise", type=_positive, metavar="X", help="standard deviation of the metric over training seeds")
    plan.add_argument("--runs", type=_count, metavar="K", help="training runs a side")
    plan.add_argument("--two-sided", action="store_true", help="split alpha over both directions")
    options.config(plan)
    both = power.add_argument_group("with both")
    both.add_argument("--discordance", type=_share, metavar="P", help="share of the 0/1 scores that change, at most")
    both.add_argument("--alpha", type=_share, metavar="A", help="error rate of one verdict (default: 0.05)")
    both.add_argument("--power", type=_share, metavar="B", help="probability to see the effect (default: 0.8)")
    both.add_argument("--json", action="store_true", help="print JSON")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**12:
        message = f"{text!r} is not a whole number, 1 or more"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _share(text: str) -> float:
    value = _float(text)
    if not 0 < value < 1:
        message = f"{text!r} does not lie between 0 and 1, such as 0.05"
        raise argparse.ArgumentTypeError(message)
    return value


def _positive(text: str) -> float:
    value = _float(text)
    if not 0 < value < float("inf"):
        message = f"{text!r} is not a number above 0"
        raise argparse.ArgumentTypeError(message)
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        seeds = tuple(seed for first, *last in ends for seed in range(first, (last[0] if last else first) + 1))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        message = f"{text!r} is not a list of different seeds such as 0,1,2 or 0-4"
        raise argparse.ArgumentTypeError(message)
    return seeds
