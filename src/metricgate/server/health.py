"""``python health.py``: exit code 0 if the server on this machine is ready. The image's HEALTHCHECK; needs no package."""

from __future__ import annotations

import http.client
import os
import sys


def main() -> int:
    """Ask once."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("METRICGATE_PORT") or 8080), timeout=3)
    try:
        connection.request("GET", "/v2/health/ready")
        return int(connection.getresponse().status != http.client.OK)
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
