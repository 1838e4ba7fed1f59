"""Runs one task of a job on a node, by the node's own Python: ``python3 worker.py job.json SEED`` (or ``@INDEX``).

This file is copied into the job's folder and stands alone: the standard library of Python 3.8, nothing else. It says that it has
begun, tells the training which of the nodes this is, keeps its output, its time limit and its signals, leaves none of its
processes behind, and writes what became of it.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

SCHEMA = "metricgate.job/1"
BASH_OPTIONS = ("--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HEAD_BYTES = 64000000
TAIL_BYTES = 1000000
TICK_S = 1.0
FLUSH_S = 2.0
OTHERS_S = 5.0
KILL_S = 5.0
FIRST_PORT, PORTS = 20000, 10000
NODES_AT_MOST = 1024
# Secrets of metricgate's actions; an engine that brings the runner's environment along must not bring them to the training.
NOT_PASSED_ON = "METRICGATE_INPUT_"
