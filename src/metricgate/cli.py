"""The command ``metricgate``: one command per stage. Turns errors into exit codes.

Whatever a command needs is imported when it runs: ``metricgate compare --help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from metricgate import command_line
from metricgate.errors import ExitCode, MetricgateError, of_full_disk

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = command_line.parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return ExitCode.USAGE
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Who started metricgate may not care for its children; it is then not told how git or a training ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return guarded(_COMMANDS[given.command], given)


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
    except Exception as error:  # noqa: BLE001 - see above
        if isinstance(error, OSError) and (full := of_full_disk(error)):
            _complain(str(full))
            return int(full.exit_code)
        traceback.print_exc()
        _complain("this is a bug in metricgate; please report it with the lines above")
    return ExitCode.STAGE_FAILED


def _complain(text: str) -> None:
    print(f"metricgate: {text}", file=sys.stderr)  # noqa: T201 - this is the place that prints errors


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
        recorded=() if getattr(options, "again", False) else None,
    )
    _print(f"{made}\n")
    return ExitCode.PASSED


def _compare(options: argparse.Namespace) -> int:
    from metricgate import config_file, custom_metrics, pipeline
    from metricgate.report import document, markdown, terminal

    config = config_file.load(options.config)
    verdicts = None
    if options.store is not None:
        from metricgate import recording

        verdicts = recording.verdicts(options.config, store=options.store, environ=os.environ)
    report = pipeline.compare(
        options.candidate,
        options.baseline,
        config=config,
        history=options.history,
        verdicts=verdicts,
        importing=custom_metrics.on_this_machine(options.config.parent, os.environ),
    )
    if options.store is not None:
        sys.stderr.write(recording.note(options.config, report, store=options.store, environ=os.environ))
    for path, text in ((options.json, document.to_json), (options.markdown, markdown.render)):
        if path is not None:
            _write(path, text(report))
    if not any(path == Path("-") for path in (options.json, options.markdown)):
        _print(terminal.render(report))
    return report.exit_code


def _record(options: argparse.Namespace) -> int:
    from metricgate import recording

    _print(recording.record(options.config, options.runs, store=options.store, commit=options.commit, environ=os.environ))
    return ExitCode.PASSED


def _baseline(options: argparse.Namespace) -> int:
    from metricgate import recording

    if options.list:
        _print(recording.listed(options.config, store=options.store, environ=os.environ))
        return ExitCode.PASSED
    found = recording.find(
        options.config,
        options.commit,
        store=options.store,
        into=options.output,
        base=options.base,
        as_json=options.json,
        environ=os.environ,
    )
    _print(found)
    return ExitCode.PASSED


def _comment(options: argparse.Namespace) -> int:
    from metricgate import recording

    _print(recording.comment(options.report, number=options.pull_request, when=options.when, environ=os.environ))
    return ExitCode.PASSED


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


def _calibrate(options: argparse.Namespace) -> int:
    from metricgate.planning import calibrating

    told = calibrating.main(
        options.config,
        seeds=options.seeds,
        runs=options.runs,
        record=options.record,
        store=options.store,
        as_json=options.json,
        environ=os.environ,
        progress=sys.stderr,
    )
    _print(told)
    return ExitCode.PASSED


def _power(options: argparse.Namespace) -> int:
    from metricgate.planning import power

    _print(power.main(options))
    return ExitCode.PASSED


def _tags(options: argparse.Namespace) -> int:
    from metricgate import workspace
    from metricgate.release import naming

    asked = naming.Asked(
        ref=options.ref,
        sha=options.sha,
        images=options.image,
        rules=options.rule,
        flavor=options.flavor,
        existing=options.existing,
        labels=options.label,
        default_branch=options.default_branch,
    )
    text, told = naming.tags(asked, environ=os.environ, now=workspace.now(), as_json=options.json)
    _print(text)
    for line in told:
        _complain(line)
    return ExitCode.PASSED


@contextlib.contextmanager
def _extra(name: str, who: str) -> Iterator[None]:
    """What only some commands need is not installed with the rest; without it, say so."""
    from metricgate.errors import UsageError

    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{error.name} is not installed",
            expected=f"metricgate with what {who} needs",
            fix=f'pip install "metricgate[{name}]"',
        ) from None


def _publish(options: argparse.Namespace) -> int:
    with _extra("release", "a release"):
        from metricgate import releasing

    wanted = releasing.Wanted(
        config=options.config,
        ref=options.ref,
        sha=options.sha,
        images=options.image,
        rules=options.rule,
        flavor=options.flavor,
        labels=options.label,
        default_branch=options.default_branch,
        model=options.model,
        golden=options.golden,
        store=options.store,
        key=options.key,
        allow_stale=options.allow_stale,
        push=not options.dry_run,
    )
    published, _ = releasing.publish(wanted, environ=os.environ, say=_complain)
    _print(published.to_json() if options.json else published.to_text())
    return ExitCode.PASSED


def _verify(options: argparse.Namespace) -> int:
    with _extra("release", "a release"):
        from metricgate.release import verifying

    asked = verifying.Asked(
        image=options.image,
        key=options.key,
        identity=options.identity,
        issuer=options.issuer,
        repository=options.repository,
        offline=options.offline,
        model=options.model,
        save=options.save,
    )
    text, code = verifying.verify(asked, environ=os.environ, as_json=options.json)
    _print(text)
    return code


def _tune(options: argparse.Namespace) -> int:
    with _extra("tune", "a search for parameters"):
        from metricgate.tune import document, markdown, terminal, tuning
    from metricgate.train import Console

    wanted = tuning.Wanted(
        config=options.config,
        trials=options.trials,
        workers=options.workers,
        storage=options.storage,
        study=options.study,
        retrain=not options.no_retrain,
        baseline=options.baseline,
        apply=options.apply,
    )
    console = Console(output=sys.stderr.buffer, progress=sys.stderr)
    found = tuning.tune(wanted, environ=os.environ, console=console, progress=sys.stderr).tuning
    if options.report is not None:
        _write(options.report, markdown.render(found))
    if options.json:
        _print(document.to_json(found))
    elif options.report != Path("-"):
        _print(terminal.render(found))
    return found.exit_code


def _schema(_: argparse.Namespace) -> int:
    import json

    from metricgate import config_schema

    _print(json.dumps(config_schema.schema(), indent=2) + "\n")
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


_COMMANDS: Mapping[str, Command] = {
    "init": _init,
    "run": _run,
    "train": _train,
    "evaluate": _evaluate,
    "record": _record,
    "baseline": _baseline,
    "compare": _compare,
    "comment": _comment,
    "gate": _gate,
    "report": _report,
    "power": _power,
    "calibrate": _calibrate,
    "tags": _tags,
    "publish": _publish,
    "verify": _verify,
    "tune": _tune,
    "schema": _schema,
    "demo": _demo,
    "action": _action,
}
