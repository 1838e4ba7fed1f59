"""Where trials are kept: a journal file, or a database that several machines share."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from metricgate.errors import StageError, UsageError
from metricgate.tune import journal
from metricgate.tune.presence import Presence
from metricgate.tune_config import Tune

JOURNAL = Path(".metricgate") / "tune" / "journal.log"

Vanished = Callable[[optuna.Study, FrozenTrial], None]

_OPENED_AT_ONCE = 5
_PAUSE_S = 0.3


@dataclass(frozen=True)
class Heartbeat:
    """How a database knows that a machine is gone.

    Attributes:
        interval_s: Seconds between two signs of life of a trial.
        grace_s: Seconds without one after which its machine counts as gone.
    """

    interval_s: int = 20
    grace_s: int = 90


@dataclass(frozen=True)
class Place:
    """An open storage.

    Attributes:
        storage: Optuna's.
        shown: What to call it; never with a password.
        presence: Who else works on a journal; None for a database, whose trials have heartbeats.
    """

    storage: BaseStorage
    shown: str
    presence: Presence | None = None

    @property
    def worker(self) -> str:
        """This process, as its trials name it."""
        return self.presence.id if self.presence else "database"


def of(tune: Tune, given: str | None, environ: Mapping[str, str], *, root: Path) -> str:
    """Which storage is meant: the one given, that of the environment, that of the configuration, or the journal.

    Raises:
        UsageError: A password was typed where everybody can read it.
    """
    from metricgate.tune_config import has_password

    if given and has_password(given):
        raise UsageError(
            "the password in --storage can be read by everybody on this machine",
            fix=f"put the URL into the environment instead:\n{tune.storage_env}=postgresql://user:password@host/database",
        )
    chosen = given or environ.get(tune.storage_env) or tune.storage or str(root / JOURNAL)
    return chosen if "://" in chosen else str(root / chosen)


@contextlib.contextmanager
def opened(place: str, *, vanished: Vanished, heartbeat: Heartbeat = Heartbeat()) -> Iterator[Place]:
    """Open a storage.

    Args:
        place: A file, or the URL of a database.
        vanished: Told of each trial that failed because its machine is gone, once.
        heartbeat: How a database finds that out.

    Raises:
        UsageError: There is no such storage, or the package for it is missing.
        StageError: The database does not answer.
    """
    # Heartbeats are what Optuna calls experimental; they have been there since version 2.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if "://" in place:
        database = _database(place, vanished=vanished, heartbeat=heartbeat)
        try:
            with _explained(place):
                yield Place(database, shown(place))
        finally:
            with contextlib.suppress(Exception):
                database.engine.dispose()
        return
    file = Path(place)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _ignored(file)
        storage = journal.opened(file)
        presence = Presence(file.with_name(f"{file.name}.workers"))
    except OSError as error:
        raise UsageError(
            f"the journal can't be kept there: {error.strerror}",
            where=str(file),
            fix="choose another file with `tune: {storage: …}` or --storage",
        ) from None
    except ValueError as error:
        raise UsageError(
            f"this is no journal of trials: {error}", where=str(file), fix="choose another file, or move this one away"
        ) from None
    with contextlib.closing(presence):
        yield Place(storage, str(file), presence)


def shown(place: str) -> str:
    """A storage for people: a URL without password and options."""
    if "://" not in place:
        return place
    parts = urlsplit(place)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _database(place: str, *, vanished: Vanished, heartbeat: Heartbeat) -> RDBStorage:
    url = place
    for scheme in ("postgresql://", "postgres://"):
        if place.startswith(scheme):  # SQLAlchemy's own choice of a driver is another one in each version
            url = f"postgresql+psycopg://{place.removeprefix(scheme)}"
    with _explained(place):
        for attempt in range(_OPENED_AT_ONCE):
            made = _made(url, place, vanished=vanished, heartbeat=heartbeat, last=attempt == _OPENED_AT_ONCE - 1)
            if made is not None:
                return made
            time.sleep(_PAUSE_S * (attempt + 1))
    raise AssertionError  # the last attempt returned or raised


def _made(url: str, place: str, *, vanished: Vanished, heartbeat: Heartbeat, last: bool) -> RDBStorage | None:
    """Open a database; None where somebody else is making its tables at this moment."""
    import sqlalchemy.exc

    try:
        return RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=heartbeat.interval_s,
            grace_period=heartbeat.grace_s,
            heartbeat_stale_trial_callback=vanished,
        )
    except ImportError as error:
        raise UsageError(
            f"the driver of {shown(place)} is not installed",
            expected="a database that SQLAlchemy knows, and its driver",
            fix='for PostgreSQL: pip install "psycopg[binary]"',
        ) from error
    except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
        if last:
            raise
        return None
    except sqlalchemy.exc.ArgumentError:
        raise UsageError(
            f"{shown(place)} is no address of a database",
            expected="a file, or a URL such as postgresql://user:password@host/database",
        ) from None


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    import sqlalchemy.exc

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise _unanswered(place, error) from None


def _unanswered(place: str, error: Exception) -> StageError:
    """What a driver says may hold the address; its first line is enough, without the password."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    said = (str(cause).splitlines() or [type(error).__name__])[0]
    try:
        password = urlsplit(place).password
    except ValueError:
        password = None
    said = said.replace(password, "***") if password else said
    return StageError(
        f"the storage did not do what it was asked for: {said[:300]}",
        where=shown(place),
        expected="a database that is reachable from here, in which tables may be made",
        fix="start it, or check its address; `metricgate tune` goes on where it stopped",
    )


def _ignored(file: Path) -> None:
    """Keep what is under .metricgate out of the repository."""
    from metricgate import run

    for folder in file.parents:
        if folder.name == JOURNAL.parts[0]:
            ignore = folder / ".gitignore"
            if not ignore.exists():
                run.write_text(ignore, "*\n")
            return
