"""``python -m server``: load the model, let it answer once, then serve until SIGTERM."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from . import model
from .errors import CannotServeError
from .settings import Settings

if TYPE_CHECKING:
    from .served import ServedModel

log = logging.getLogger("metricgate.server")


def main(environ: Mapping[str, str]) -> int:
    """Serve.

    Returns:
        0 after a SIGTERM, 1 if there is nothing to serve.
    """
    # The first process of a container ignores signals that it has no handler for, and importing takes seconds.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.of(environ)
        return _serve(settings)
    except CannotServeError as error:
        log.error("%s", error)  # noqa: TRY400 - a sentence for a person
        return 1


def _serve(settings: Settings) -> int:
    started = time.perf_counter()
    found = model.find(settings.model)
    # Nothing that importing and loading make is garbage, and looking for it takes a tenth of the time.
    gc.disable()
    log.info("loading %s, format %s", found.path, found.format)
    predictor = model.load(found, threads=settings.threads)
    model.warm_up(predictor)
    seconds = time.perf_counter() - started

    from . import measures
    from .served import ServedModel

    measures.LOAD_SECONDS.set(seconds)
    measures.MODEL.labels(settings.name, found.format).set(1)
    with ThreadPoolExecutor(settings.threads, thread_name_prefix="predict") as executor:
        served = ServedModel(settings.name, predictor, platform=found.format, executor=executor)
        server = _server(served, settings)
        gc.freeze()
        gc.enable()
        log.info(
            "`%s` is ready on port %d; loaded in %.1f s, %d threads", served.name, settings.port, seconds, settings.threads
        )
        server.run()
    return 0


def _server(served: ServedModel, settings: Settings) -> Any:
    import uvicorn

    from .app import Application

    class Server(uvicorn.Server):
        """Not ready from the moment that it is told to stop; requests that run are answered."""

        def handle_exit(self, sig: int, frame: Any) -> None:
            served.stop()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        Application(served, body_bytes=settings.body_bytes).build(),
        host="0.0.0.0",  # noqa: S104 - a container's own address
        port=settings.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_keep_alive=65,
        timeout_graceful_shutdown=settings.grace_seconds,
    )
    return Server(config)


def _end(_number: int, _frame: object) -> None:
    """End the process while it loads, or has answered all: a package that it imports might catch an exception, or show it."""
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main(os.environ))
