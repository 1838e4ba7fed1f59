"""The command ``metricgate``: one command per stage. Turns errors into exit codes.

Whatever a command needs is imported when it runs: ``metricgate compare --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from metricgate.errors import ExitCode, MetricgateError

EXIT_CODES = """exit codes:
  0 passed (warnings allowed)     1 a rule failed: a regression
  2 wrong use or malformed input  3 inconclusive, and the policy says fail
  4 not comparable, and the policy says fail
  5 training, evaluation or infrastructure failed"""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Command | None = getattr(options, "command", None)
    if command is None:
        parser.print_help()
        return ExitCode.USAGE
    return guarded(command, options)


def guarded(command: Command, options: argparse.Namespace) -> int:
    """Run a command and turn whatever it raises into an exit code. Python's own code for an exception, 1, means regression."""
    try:
        return int(command(options))
    except MetricgateError as error:
        _complain(str(error))
        return int(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe went away (`metricgate report … | head`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _complain("interrupted")
    except MemoryError:
        _complain("out of memory; compare fewer runs at once, or on a larger machine")
    except Exception:  # noqa: BLE001 - see above
        traceback.print_exc()
        _complain("this is a bug in metricgate; please report it with the lines above")
    return ExitCode.STAGE_FAILED


def _complain(text: str) -> None:
    print(f"metricgate: {text}", file=sys.stderr)  # noqa: T201 - this is the place that prints errors


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metricgate",
        description="Compares models, says how sure it is, and blocks a merge only when the evidence says regression.",
        epilog=f"example:\n  metricgate init\n  metricgate run\n  metricgate compare baseline/ candidate/\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"metricgate {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    init = _command(commands, "init", _init, "write a commented metricgate.yaml and a workflow", "metricgate init")
    init.add_argument("folder", nargs="?", type=Path, default=Path(), help="the repository (default: here)")

    for name, run, what in (
        ("run", _run, "train and evaluate: one run per seed"),
        ("train", _train, "train only: one run folder per seed"),
        ("evaluate", _evaluate, "evaluate what was trained and check what it wrote"),
    ):
        stage = _command(commands, name, run, what, f"metricgate {name} --seeds 0,1,2")
        _config_option(stage)
        stage.add_argument(
            "--run-dir", type=Path, metavar="FOLDER", help="where the runs go (default: .metricgate/runs/COMMIT)"
        )
        stage.add_argument("--seeds", type=_seeds, metavar="0,1,2", help="instead of those of the configuration")

    compare = _command(
        commands,
        "compare",
        _compare,
        "compare two sets of runs, judge, write the report, exit with the verdict's code",
        "metricgate compare .metricgate/runs/a1b2c3d .metricgate/runs/e4f5a6b\n"
        "  metricgate compare baseline/ candidate/ --config metricgate.yaml --json report.json --markdown report.md\n"
        "  metricgate compare old/scores.csv new/scores.csv --history main-runs/",
    )
    for name in ("baseline", "candidate"):
        compare.add_argument(
            name, metavar=name.upper(), type=Path, help="a run folder, a folder of run folders, or one file in any known format"
        )
    _config_option(compare)
    compare.add_argument(
        "--history", type=Path, metavar="FOLDER", help="recorded runs of the main branch, for the training noise"
    )
    compare.add_argument("--json", type=Path, metavar="FILE", help="write report.json (- is standard output)")
    compare.add_argument("--markdown", type=Path, metavar="FILE", help="write the report as Markdown (- is standard output)")

    gate = _command(commands, "gate", _gate, "exit with the code of a report", "metricgate gate report.json")
    gate.add_argument("report", metavar="REPORT", type=Path, help="a report.json")

    report = _command(
        commands, "report", _report, "render a report", "metricgate report report.json --format markdown > report.md"
    )
    report.add_argument("report", metavar="REPORT", type=Path, help="a report.json")
    report.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="how (default: text)")
    report.add_argument(
        "--budget", type=int, default=65_000, metavar="N", help="most characters of the Markdown (default: 65000)"
    )

    _command(
        commands, "schema", _schema, "print the JSON Schema of metricgate.yaml", "metricgate schema > metricgate.schema.json"
    )

    demo = _command(
        commands,
        "demo",
        _demo,
        "train, compare and judge a small real model, start to end",
        "metricgate demo --output demo-output",
    )
    demo.add_argument("--output", type=Path, default=Path("demo-output"), metavar="FOLDER", help="default: demo-output")

    action = _command(commands, "action", _action, argparse.SUPPRESS, "metricgate action check")
    action.add_argument("stage", help="what the composite action does; its inputs are METRICGATE_INPUT_* variables")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Command,
    what: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command; one without a description is not listed."""
    options = {} if what is argparse.SUPPRESS else {"help": what}
    parser = commands.add_parser(
        name,
        description=None if what is argparse.SUPPRESS else what[0].upper() + what[1:] + ".",
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,  # type: ignore[arg-type]  # typeshed has no Unpack for add_parser
    )
    parser.set_defaults(command=run)
    return parser


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=Path("metricgate.yaml"), metavar="FILE", help="default: metricgate.yaml")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        message = f"{text!r} is not a list of different seeds such as 0,1,2"
        raise argparse.ArgumentTypeError(message)
    return seeds


def _version() -> str:
    from metricgate import __version__

    return __version__


def _init(options: argparse.Namespace) -> int:
    from metricgate import init

    return init.main(options.folder)


def _run(options: argparse.Namespace) -> int:
    return _produce(options, "train", "evaluate")


def _train(options: argparse.Namespace) -> int:
    return _produce(options, "train")


def _evaluate(options: argparse.Namespace) -> int:
    return _produce(options, "evaluate")


def _produce(options: argparse.Namespace, *stages: Literal["train", "evaluate"]) -> int:
    """Run stages at the folder of the configuration; the run folder is the only thing on standard output."""
    from metricgate import pipeline
    from metricgate.train import Console

    config: Path = options.config
    made = pipeline.produce(
        config.parent,
        console=Console(output=sys.stderr.buffer, progress=sys.stderr),
        environ=os.environ,
        config=Path(config.name),
        stages=stages,
        run_dir=options.run_dir,
        seeds=options.seeds,
    )
    _print(f"{made}\n")
    return ExitCode.PASSED


def _compare(options: argparse.Namespace) -> int:
    from metricgate import config_file, pipeline
    from metricgate.report import document, markdown, terminal

    config = config_file.load(options.config)
    report = pipeline.compare(options.candidate, options.baseline, config=config, history=options.history)
    for path, text in ((options.json, document.to_json), (options.markdown, markdown.render)):
        if path is not None:
            _write(path, text(report))
    if not any(path == Path("-") for path in (options.json, options.markdown)):
        _print(terminal.render(report))
    return report.exit_code


def _gate(options: argparse.Namespace) -> int:
    from metricgate.report import document, terminal

    report = document.read(options.report)
    _print(terminal.headline(report))
    return report.exit_code


def _report(options: argparse.Namespace) -> int:
    from metricgate.report import document, markdown, terminal

    report = document.read(options.report)
    if options.format == "markdown":
        _print(markdown.render(report, budget=options.budget))
    else:
        _print(document.to_json(report) if options.format == "json" else terminal.render(report))
    return ExitCode.PASSED


def _schema(_: argparse.Namespace) -> int:
    import json

    from metricgate import config

    _print(json.dumps(config.schema(), indent=2) + "\n")
    return ExitCode.PASSED


def _demo(options: argparse.Namespace) -> int:
    from metricgate import demo

    return demo.main(options.output)


def _action(options: argparse.Namespace) -> int:
    from metricgate.github import action

    return action.main(options.stage, os.environ)


def _write(path: Path, text: str) -> None:
    if path == Path("-"):
        _print(text)
        return
    from metricgate import run
    from metricgate.errors import UsageError

    try:
        run.write_text(path, text)
    except OSError as error:
        raise UsageError(f"can't write: {error.strerror}", where=str(path), expected="a place for the report") from None


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
