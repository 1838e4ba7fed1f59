"""Which of several nodes writes: all of them see the same folder, and one state is enough."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any


def leads(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this node is the one that saves checkpoints; every node may read them.

    NODE_RANK decides where it is set. Otherwise TF_CONFIG does, as TensorFlow reads it: the chief leads, without one the first
    worker. Who has neither is alone.

    Args:
        environ: By default the environment of the process.

    Raises:
        ValueError: NODE_RANK is no number, or TF_CONFIG is not what TensorFlow reads.

    Example:
        >>> leads({"NODE_RANK": "1"})
        False
        >>> leads({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'})
        True
    """
    environ = os.environ if environ is None else environ
    rank = environ.get("NODE_RANK")
    if rank:
        if not rank.isdecimal():
            message = f"NODE_RANK is {rank!r}, and should be a number from 0 on"
            raise ValueError(message)
        return int(rank) == 0
    config = environ.get("TF_CONFIG")
    return _leads_tensorflow(config) if config else True


def _leads_tensorflow(text: str) -> bool:
    try:
        config: dict[str, Any] = json.loads(text)
        task, cluster = config.get("task") or {}, config.get("cluster") or {}
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        message = f"TF_CONFIG is {text!r}, and should be like {{'cluster': …, 'task': {{'type': 'worker', 'index': 0}}}}"
        raise ValueError(message) from error
    first = next((name for name in ("chief", "master") if name in cluster), "worker")
    return bool(kind == first and index == 0)
