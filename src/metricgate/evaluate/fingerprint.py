"""The fingerprint of an evaluation: two runs with different ones were not measured alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metricgate.config import Config
from metricgate.train import digest, inputs
from metricgate.train.named_files import named_files

LAYOUT = "metricgate.evaluation/1"


def of_evaluation(config: Config, *, root: Path, environ: Mapping[str, str]) -> str | None:
    """The digest of the evaluation command and of the files that it depends on; None without an ``evaluate`` section.

    Hashed are the texts ``metricgate.evaluation/1``, the command, and the digest (``train.digest``) of the files that the
    command names and that git tracks (``evaluate.py``, ``--config=eval.yaml``, ``-m package.module``), together with those
    that ``evaluate.inputs`` matches. Files that git does not track, such as a model or an earlier output, count only when
    they are declared. What those files import is not followed: declare it.

    Raises:
        InputError: A pattern of ``evaluate.inputs`` matches nothing.
    """
    if config.evaluate is None:
        return None
    named = {name: root / name for name in named_files(config.evaluate.run, root=root, environ=environ)}
    declared = inputs.matches(config.evaluate.inputs, root=root, key="evaluate.inputs")
    files = {**named, **declared}
    return digest.of_texts([LAYOUT, config.evaluate.run.strip(), digest.of_files(files)])
