"""``metricgate init``: looks at a repository, writes a commented configuration and a workflow. Overwrites nothing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from metricgate import __version__, config, config_file, run
from metricgate.errors import ExitCode, UsageError

WORKFLOW = Path(".github/workflows/model.yml")
MAX_FILES = 2000
MAX_BYTES = 1_000_000

FRAMEWORKS = {
    "Keras": (r"\bkeras\b", "outputs/model.keras"),
    "TensorFlow": (r"\btensorflow\b", "outputs/model.keras"),
    "PyTorch": (r"\btorch\b", "outputs/model.safetensors"),
    "JAX": (r"\bjax\b", "outputs/model"),
    "XGBoost": (r"\bxgboost\b", "outputs/model.json"),
    "LightGBM": (r"\blightgbm\b", "outputs/model.txt"),
    "scikit-learn": (r"\b(sklearn|scikit-learn)\b", "outputs/model"),
}
"""A pattern for imports and requirements, and where such a model usually goes; the first that matches is taken."""

_HOOKS = {
    "Keras": "model.fit(…, callbacks=[metricgate.keras.Resume()])",
    "TensorFlow": "model.fit(…, callbacks=[metricgate.keras.Resume()])",
    "PyTorch": "metricgate.torch, or metricgate.transformers for Hugging Face's Trainer",
}
"""By framework, what goes on after an interruption; see docs/training.md."""

_LOWER = re.compile(
    r"loss|error|latency|time|_ms$|mae|mse|rmse|perplexity|\bwer\b|\bcer\b|brier|memory|size|params|cost", re.IGNORECASE
)
_YAML_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""What YAML takes for something else than text, in one of its versions."""
_SKIPPED = {".git", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".metricgate", "site-packages", "build", "dist"}


@dataclass(frozen=True)
class Findings:
    """What a look at the repository found.

    Attributes:
        framework: Its name; None where none was recognised.
        model: Where the model probably goes.
        train: The training command, and whether its script is there.
        evaluate: The evaluation command; None where training evaluates too, or nothing was found.
        metrics: Names and directions.
        metrics_file: Where they were read from.
        ignored: Whether ``.gitignore`` names the folder where the model goes.
    """

    framework: str | None
    model: str
    train: str
    evaluate: str | None
    metrics: dict[str, Literal["higher", "lower"]]
    metrics_file: str | None
    ignored: bool


def main(folder: Path) -> int:
    """Write ``metricgate.yaml`` and the workflow where they are missing, and say what to edit.

    Raises:
        UsageError: There is no such folder.
    """
    if not folder.is_dir():
        raise UsageError("there is no such folder", where=str(folder), expected="a repository")
    found = look(folder)
    for line in _described(found):
        _say(line)
    files = {Path(config.FILE_NAME): configuration(found, name=folder.resolve().name), WORKFLOW: workflow()}
    kept = [path for path in files if (folder / path).exists()]
    for path, text in files.items():
        if path in kept:
            _say(f"kept    {path} (it is there already)")
            continue
        run.write_text(folder / path, text)
        _say(f"wrote   {path}")
    if len(kept) == len(files):
        _say("Nothing was written; delete a file to have it written anew.")
        return ExitCode.PASSED
    _say("")
    _say(f"Next, in {config.FILE_NAME}:")
    for line in _next_steps(found):
        _say(f"  - {line}")
    _say("Then try it: `metricgate run`, change something, `metricgate run` again, and compare the two folders that it names.")
    return ExitCode.PASSED


def look(folder: Path) -> Findings:
    """Look at scripts, requirements and metrics files; runs nothing."""
    sources = [*_files(folder, ".py"), *_files(folder, ".txt"), *_files(folder, ".toml"), *_files(folder, ".yml")]
    text = "\n".join(_read(path) for path in islice(sources, MAX_FILES))
    framework = next((name for name, (pattern, _) in FRAMEWORKS.items() if re.search(pattern, text)), None)
    train = _script(folder, "train.py", "training.py", "fit.py", "main.py")
    evaluate = _script(folder, "evaluate.py", "eval.py", "evaluation.py", "test_model.py", "score.py")
    metrics_path, metrics = _metrics(folder)
    model = FRAMEWORKS[framework][1] if framework else "outputs/model"
    return Findings(
        framework=framework,
        model=model,
        train=f"python {train or 'train.py'}",
        evaluate=f"python {evaluate}" if evaluate else None if train else "python evaluate.py",
        metrics=metrics or {"accuracy": "higher"},
        metrics_file=str(metrics_path.relative_to(folder)) if metrics_path else None,
        ignored=Path(model).parts[0] in {line.strip().strip("/") for line in _read(folder / ".gitignore").splitlines()},
    )


def configuration(found: Findings, *, name: str) -> str:
    """A commented ``metricgate.yaml`` that is valid as it stands."""
    first, direction = min(found.metrics.items(), key=lambda item: item[1] == "lower")
    loss = "0.01" if direction == "higher" else "5%"
    metrics = "\n".join(f"  {_key(metric)}: {{direction: {way}}}" for metric, way in found.metrics.items())
    evaluate = (
        f"evaluate:\n  run: {found.evaluate}\n"
        if found.evaluate
        else "# evaluate:                          # without it, the training command writes the metrics too\n"
        "#   run: python evaluate.py\n"
    )
    safe_name = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:100] or "model"
    text = f"""\
# yaml-language-server: $schema=https://raw.githubusercontent.com/metricgate/metricgate/v{__version__}/metricgate.schema.json
version: 1
name: {json.dumps(safe_name)}
train:
  run: {found.train}               # run by bash here; METRICGATE_SEED is set, the model goes to METRICGATE_MODEL
  seeds: [0, 1, 2]                   # one training each; three make the training noise known
  timeout: 6h
  retries: 2                         # after a crash or a preemption; METRICGATE_CHECKPOINT_DIR survives
  # inputs: [train.py]               # all that training depends on; then the same training is never run twice
{evaluate}model: {found.model}
metrics:
{metrics}
  # f1: {{direction: higher, aggregate: f1_macro}}    # from the columns `label` and `prediction`, as roc_auc and others are
# Evaluation writes metrics.json or, far better, scores.csv / scores.parquet / scores.jsonl to METRICGATE_RUN_DIR: one row a
# test example, a column of this name with its id, and one column a metric. Then examples are paired and slices work.
scores: {{id: example_id}}
# slices: [label]                    # columns of the score table; each value is a slice
gate:
  alpha: 0.05                        # how often healthy work may be blocked
  on_inconclusive: warn              # pass | warn | fail
  rules:
    - {{metric: {_key(first)}, max_regression: {loss}}}   # against the baseline: how much it may lose
    # - {{metric: {_key(first)}, min: 0.90}}                # an absolute bound
    # - {{metric: {_key(first)}, slices: [label], max_regression: 0.03, min_n: 50}}
"""
    config_file.loads(text)
    return text


def workflow() -> str:
    """The workflow that calls the reusable one."""
    return f"""\
name: model
on:
  pull_request:
  merge_group:
  push:
    branches: [main]
permissions: {{}}
jobs:
  model:
    uses: metricgate/metricgate/.github/workflows/model-ci.yml@v{__version__}
    permissions:
      contents: write                # check out the code; record the runs of main on a branch of their own
      pull-requests: write           # comment on the pull request
      checks: write                  # annotate the rule that failed
      statuses: write                # show the verdict beside the commit
    with:
      config: {config.FILE_NAME}
      runs-on: '["self-hosted", "gpu"]'   # the labels of your training runner
      judge-runs-on: '["ubuntu-latest"]'  # judging needs no GPU and runs no code of the pull request
"""


def _described(found: Findings) -> Iterator[str]:
    yield f"found   {found.framework or 'no framework that metricgate knows (any will do)'}"
    if found.metrics_file:
        yield f"found   {found.metrics_file} with {', '.join(found.metrics)}"


def _next_steps(found: Findings) -> Iterator[str]:
    yield f"`train.run`: is `{found.train}` how you train? It should read METRICGATE_SEED and save to METRICGATE_MODEL."
    if found.evaluate:
        yield f"`evaluate.run`: is `{found.evaluate}` how you evaluate? It should write scores.csv to METRICGATE_RUN_DIR."
    yield f"`model`: the file or folder that training writes (now {found.model})."
    yield f"`metrics` and `rules`: {', '.join(found.metrics)} {'were found' if found.metrics_file else 'is a guess'}."
    if found.framework in _HOOKS:
        yield f"So that a training that was interrupted goes on where it was: {_HOOKS[found.framework]}."
    if not found.ignored:
        yield f"In .gitignore: {Path(found.model).parts[0]}/, or wherever the model goes, so that nobody commits it."
    yield f"In {WORKFLOW}: the labels of your training runner."


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    """Files of a kind, shallow ones first, without environments and build results."""
    level = [folder]
    for _ in range(4):
        deeper: list[Path] = []
        for directory in level:
            try:
                entries = sorted(directory.iterdir())
            except OSError:
                continue
            yield from (entry for entry in entries if entry.suffix == suffix and entry.is_file())
            deeper += [e for e in entries if e.is_dir() and not e.is_symlink() and e.name not in _SKIPPED]
        level = deeper


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="ignore") if path.stat().st_size < MAX_BYTES else ""
    except OSError:
        return ""


def _script(folder: Path, *names: str) -> str | None:
    scripts = [path.relative_to(folder) for path in islice(_files(folder, ".py"), MAX_FILES)]
    for name in names:
        for path in scripts:
            if path.name == name and re.fullmatch(r"[\w./-]+", str(path)):
                return str(path)
    return None


def _metrics(folder: Path) -> tuple[Path | None, dict[str, Literal["higher", "lower"]]]:
    """The metrics of the first metrics.json that has some, and which way they are better by their names."""
    for path in islice(_files(folder, ".json"), MAX_FILES):
        if path.name not in {"metrics.json", "scores.json", "results.json"}:
            continue
        try:
            document = json.loads(_read(path))
        except ValueError:
            continue
        if not isinstance(document, dict):
            continue
        names = [
            name
            for name, value in document.items()
            if isinstance(value, int | float | dict) and not isinstance(value, bool) and name not in {"step", "epoch"}
        ]
        if names:
            return path, {name: "lower" if _LOWER.search(name) else "higher" for name in names[:10]}
    return None, {}


def _key(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII) and name.lower() not in _YAML_WORDS
    return name if plain else json.dumps(name)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
