"""Why a command failed, in plain words, with the advice that fits. Pure: everything that was seen comes in as an argument.

Only what was really seen is claimed. What metricgate itself did comes first, then signals with what the kernel says about them,
then what the program said when it ended, and at last the bare exit code.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from metricgate.train import last_words, symptoms
from metricgate.train.console import duration
from metricgate.train.host_memory import Kills
from metricgate.train.progress import Progress

Reason = Literal["timeout", "stall", "nan", "cancelled", "stopped"]

# A leak, or somebody else's memory: after so long it is not the batch alone, and a retry goes on from a checkpoint.
_LEAK_S = 900.0
_COMMAND_NOT_FOUND, _NOT_EXECUTABLE = 127, 126

# What bash makes of a child that died by a signal is 128 + its number. A program may exit with such a code of its own, so only
# signals that end programs count.
_CRASHES = frozenset(
    {
        signal.SIGKILL,
        signal.SIGTERM,
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGINT,
        signal.SIGHUP,
    }
)
# A killed child as its parent tells of it: bash, PyTorch's DataLoader, concurrent.futures, torchrun.
_CHILD_KILLED = re.compile(
    r"is killed by signal: Killed|exit ?code\s*:\s*-9\b|Signal 9 \(SIGKILL\)|process pool was terminated abruptly|\d+ Killed\s"
)
_CHILD_CRASHED = re.compile(r"exit ?code\s*:\s*-(?P<number>\d+)\b|is killed by signal: (?P<name>[\w ]+?)\.")
_NO_COMMAND = re.compile(r"line \d+: (?P<command>[^:]+): (?:command not found|No such file or directory)")
_NAN = re.compile(r"\b\w*loss\w*[\"']?\s*[:=]?\s*-?nan\b", re.IGNORECASE)
_NUMBER = re.compile(r"\b\w*loss\w*[\"']?\s*[:=]?\s*-?\d", re.IGNORECASE)


@dataclass(frozen=True)
class Ended:
    """That metricgate ended a command.

    Attributes:
        reason: Why.
        by: The signal that metricgate got, or what whoever watches the command said.
        killed: Whether the command had to be killed, because it did not end.
    """

    reason: Reason
    by: str = ""
    killed: bool = False


@dataclass(frozen=True)
class Facts:
    """What else was seen.

    Attributes:
        ended: Why metricgate ended the command, if it did.
        ran_s: How long the command ran.
        timeout_s: How long it might have run.
        stall_s: How long it might have made no progress.
        grace_s: How long it might have gone on after SIGTERM.
        kills: How often the kernel killed a process for want of memory shortly before the command ended.
        memory_limit_bytes: What the control group may use, if it is limited.
        gpus: How many GPUs the command could see; None if that was not said.
        progress: What it said about its progress last.
        log: Where all of its output is, for people.
        module_file: Finds the file of a module in the repository; None where there is none.
    """

    ended: Ended | None = None
    ran_s: float = 0.0
    timeout_s: float = 0.0
    stall_s: float = 0.0
    grace_s: float = 0.0
    kills: Kills = field(default_factory=Kills)
    memory_limit_bytes: int | None = None
    gpus: int | None = None
    progress: Progress | None = None
    log: str = ""
    module_file: Callable[[str], str | None] = lambda _: None


@dataclass(frozen=True)
class Cause:
    """Why a command failed.

    Attributes:
        kind: For programs: ``host_memory``, ``gpu_memory``, ``shared_memory``, ``disk_full``, ``nan``, ``stall``, ``timeout``,
            ``cancelled``, ``stopped``, ``preempted``, ``crash``, ``missing_module``, ``import_error``, ``gpu_driver``,
            ``no_gpu``, ``network``, ``address_in_use``, ``missing_file``, ``permission``, ``no_command`` or ``exit``.
        sentence: What happened; goes on after "the training of seed 0".
        advice: What to do.
        retryable: Whether starting it again can help.
    """

    kind: str
    sentence: str
    advice: str = ""
    retryable: bool = False


def of(status: int, lines: Sequence[str], facts: Facts) -> Cause:
    """Diagnose a command that failed.

    Args:
        status: Its exit code, or minus the number of the signal that ended it.
        lines: Its last lines, as a terminal would show them.
        facts: What else was seen.
    """
    if facts.ended:
        cause = _of_ended(facts.ended, facts)
    else:
        words = last_words.of(lines)
        number = _signal(status)
        cause = (_of_signal(number, words, facts) if number else None) or _of_words(status, words, facts)
    return replace(cause, advice=cause.advice or f"all of its output is in {facts.log}")


def _of_ended(ended: Ended, facts: Facts) -> Cause:
    unsaved = ""
    if ended.killed:
        unsaved = (
            f"it did not end within {duration(facts.grace_s)} after that and was killed; `grace` under `train` gives it longer"
        )
    if ended.reason == "cancelled":
        return Cause("cancelled", f"was stopped by {ended.by}", unsaved)
    if ended.reason == "stopped":
        return Cause("stopped", f"was ended: {ended.by}", unsaved)
    if ended.reason == "timeout":
        advice = "raise `timeout` in metricgate.yaml, or make the command shorter"
        return Cause("timeout", f"took longer than {duration(facts.timeout_s)}", _lines(advice, unsaved))
    if ended.reason == "nan":
        advice = "lower the learning rate, clip the gradients, and look for NaN in the data; in mixed_float16, scale the loss"
        return Cause("nan", f"was ended, because its loss stays NaN{_place(facts.progress)}", _lines(advice, unsaved))
    advice = "look in its last lines for what it waits for: a lock, a data worker, another node, a mount that is gone"
    sentence = f"was ended as stuck: it printed nothing and made no step for {duration(facts.stall_s)}{_place(facts.progress)}"
    return Cause("stall", sentence, _lines(advice, unsaved), retryable=True)


def _of_signal(number: signal.Signals, words: last_words.LastWords, facts: Facts) -> Cause | None:
    name = f"{number.name} (exit code {128 + number})"
    if number == signal.SIGKILL:
        return _of_sigkill(name, facts)
    if number == signal.SIGTERM:
        advice = (
            "metricgate did not send it: a machine that is taken back (spot, preemption) does, and so does an administrator\n"
        )
        return Cause("preempted", f"was ended by {name}", f"{advice}{_RETRIES}", retryable=True)
    finding = symptoms.in_errors(words.errors) or symptoms.in_lines(words.closing)
    if number == signal.SIGABRT and finding:  # C++ ends so when nobody catches its exception
        return _of_finding(finding, number.name, facts)
    if number == signal.SIGBUS:
        advice = "most often shared memory (/dev/shm) or a disk was full under a mapped file; in a container,\n"
        advice += "`options: --shm-size=8g` gives more of it"
        return Cause("crash", f"was killed by {name}", advice, retryable=True)
    if number == signal.SIGILL:
        advice = "a package was built for a processor that can do more than this one: install another build of it"
        return Cause("crash", f"was killed by {name}", advice)
    said = "crashed with a segmentation fault, " if number == signal.SIGSEGV else "was killed by "
    advice = "a fault in compiled code, not in Python: PYTHONFAULTHANDLER=1 shows where it was\n"
    return Cause("crash", f"{said}{name}", f"{advice}{_RETRIES}", retryable=True)


_RETRIES = "`retries` under `train` starts it again after a crash"


def _of_sigkill(name: str, facts: Facts) -> Cause:
    if facts.kills.group or facts.kills.machine:
        return _no_memory(f"was killed by {name}, because", facts)
    advice = "metricgate did not send it, and the kernel counts no process that it killed for want of memory here:\n"
    advice += "an administrator or the machine's own supervision did; even so, most often a machine ran out of memory\n"
    return Cause("crash", f"was killed by {name}", f"{advice}{_RETRIES}", retryable=True)


def _no_memory(begin: str, facts: Facts) -> Cause:
    if not facts.kills.group:
        whose = "the machine ran out of memory"
    elif facts.memory_limit_bytes:
        whose = f"it ran out of memory: the limit here is {facts.memory_limit_bytes / 1e9:.1f} GB"
    else:
        whose = "it ran out of memory"
    advice = "use a smaller batch, fewer data workers, or a runner with more memory"
    return Cause("host_memory", f"{begin} {whose}", advice, retryable=facts.ran_s >= _LEAK_S)


def _of_words(status: int, words: last_words.LastWords, facts: Facts) -> Cause:
    code = f"exit code {status}" if status > 0 else f"{_signal_name(-status)}"
    text = "\n".join((*words.errors, *words.closing))
    finding = symptoms.in_errors(words.errors) or (None if words.errors else symptoms.in_lines(words.closing))
    if finding:
        return _of_finding(finding, code, facts)
    if (facts.kills.group or facts.kills.machine) and _CHILD_KILLED.search(text):
        return _no_memory(f"ended with {code}, because a process of it was killed:", facts)
    if match := _CHILD_CRASHED.search(text):
        died = _signal_name(int(match["number"])) if match["number"] else f"a signal ({match['name']})"
        return Cause("crash", f"ended with {code}, because a process of it was killed by {died}", _RETRIES, retryable=True)
    if status in (_COMMAND_NOT_FOUND, _NOT_EXECUTABLE) and (cause := _of_bash(status, words)):
        return cause
    if _is_nan_last(words.closing) or (facts.progress is not None and facts.progress.has_nan_loss):
        sentence = f"ended with {code}, and the last loss that it showed was NaN{_place(facts.progress)}"
        return Cause("nan", sentence, "lower the learning rate, clip the gradients, and look for NaN in the data")
    return Cause("exit", f"ended with {code}")


def _of_finding(finding: symptoms.Finding, code: str, facts: Facts) -> Cause:
    kind, sentence, advice = finding.symptom.kind, finding.sentence, finding.advice
    if kind == "gpu_memory" and facts.gpus == 0:
        kind, sentence = "host_memory", "ran out of memory"  # JAX says the same of both
        advice = "use a smaller batch, load less of the data at once, or use a runner with more memory"
    if kind == "no_gpu" and facts.gpus:
        advice = f"it could have seen {facts.gpus}: the framework is built without GPU support, or for another driver"
    if kind == "missing_module" and (file := facts.module_file(finding.match["module"])):
        advice = f"it is {file} of the repository, and Python does not look there:\n"
        folder = file.rpartition("/")[0]
        advice += (
            f"run: PYTHONPATH={folder or '.'} python …   # in metricgate.yaml, or install the repository: pip install -e ."
        )
    return Cause(kind, f"{sentence} ({code})", advice, retryable=finding.symptom.retryable)


def _of_bash(status: int, words: last_words.LastWords) -> Cause | None:
    if status == _NOT_EXECUTABLE:
        if any("Permission denied" in line or "cannot execute" in line for line in words.closing[-3:]):
            advice = "make it executable (git update-index --chmod=+x FILE), or name its interpreter: python FILE"
            return Cause("no_command", f"is no program that may be run (exit code {status})", advice)
        return None
    found = [match["command"] for line in words.closing[-3:] if (match := _NO_COMMAND.search(line))]
    if not found:
        return None
    advice = "install it in the step before, activate the environment that has it, or name it by its path"
    return Cause("no_command", f"wants a command that is not there: {found[-1]} (exit code {status})", advice)


def _is_nan_last(lines: Sequence[str]) -> bool:
    for line in reversed(lines):
        if _NAN.search(line):
            return True
        if _NUMBER.search(line):
            return False
    return False


def _signal(status: int) -> signal.Signals | None:
    number = -status if status < 0 else status - 128
    try:
        found = signal.Signals(number)
    except ValueError:
        return None
    return found if status < 0 or found in _CRASHES else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _place(progress: Progress | None) -> str:
    if progress is None or (progress.step is None and progress.epoch is None):
        return ""
    said = [f"{name} {value:,}" for name, value in (("epoch", progress.epoch), ("step", progress.step)) if value is not None]
    return f" ({', '.join(said)})"


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)
