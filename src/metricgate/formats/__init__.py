"""Reads what metricgate and other tools write: one module per format, and the choice among them.

A format that states metrics is a module with ``NAME``, ``detect(path)`` (does this look like mine?) and ``read(path)``
(one ``Metric`` per name, or an ``InputError``). Nothing here runs code from a file: no pickles.
"""

from metricgate.formats.auto import UNDERSTOOD, read_runs

__all__ = ["UNDERSTOOD", "read_runs"]
