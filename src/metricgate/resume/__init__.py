"""Checkpoints, progress and stopping for any training, whatever its framework.

A training saves into METRICGATE_CHECKPOINT_DIR and goes on from there when it is started again. Only the standard library
and numpy are needed, so ``pip install --no-deps metricgate`` is enough where a training runs. What a killed writer, a full
disk or a broken one leaves behind is never read: a checkpoint counts when its manifest is there and fits every byte.

Example:
    A loop that survives being killed at any moment::

        import json
        from metricgate import resume

        state = {"step": 0, "loss": 1.0}
        if checkpoint := resume.latest():
            state = json.loads((checkpoint.path / "state.json").read_text())
        while state["step"] < 1000:
            state = {"step": state["step"] + 1, "loss": state["loss"] * 0.99}
            resume.progress(step=state["step"], steps=1000, loss=state["loss"])
            if resume.due():
                with resume.saving(state["step"]) as folder:
                    (folder / "state.json").write_text(json.dumps(state))
            if resume.stop_requested():
                resume.stop()
"""

from metricgate.resume.checkpoints import FOLDER_VARIABLE, Checkpoint, Checkpoints, due, latest, saving
from metricgate.resume.nodes import leads
from metricgate.resume.reporting import PROGRESS_VARIABLE, progress
from metricgate.resume.stopping import PREEMPTED, stop, stop_requested

__all__ = [
    "FOLDER_VARIABLE",
    "PREEMPTED",
    "PROGRESS_VARIABLE",
    "Checkpoint",
    "Checkpoints",
    "due",
    "latest",
    "leads",
    "progress",
    "saving",
    "stop",
    "stop_requested",
]
