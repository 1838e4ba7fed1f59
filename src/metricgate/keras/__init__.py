"""What a Keras 3 training imports: a callback that lets it survive, and the settings of ``metricgate.yaml``.

Only Keras and numpy are needed, so ``pip install --no-deps metricgate`` is enough where a training runs.
"""

from metricgate.keras.resuming import Resume
from metricgate.keras.settings import Settings, compile_options, setup

__all__ = ["Resume", "Settings", "compile_options", "setup"]
