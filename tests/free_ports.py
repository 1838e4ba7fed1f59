"""Ports for servers that are processes of their own, which can't be asked which one they got."""

from __future__ import annotations

import contextlib
import random
import socket

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports of localhost that nobody listens on now, all different.

    They lie below those that the system gives to whoever connects: such a one may be gone when the server wants it.
    """
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.bind((HOST, port))
            found.add(port)
    return list(found)
