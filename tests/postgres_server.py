"""A real PostgreSQL of one's own: a cluster in a temporary folder, reached through a socket there, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

PASSWORD = "not-for-people"


class PostgresServer:
    """A server; databases in it are made by those who ask for a URL.

    It runs as ``postgres`` where the tests run as root, which PostgreSQL refuses to do.
    """

    def __init__(self) -> None:
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        # Short, because a socket's path is.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        self._databases = 0

    def __enter__(self) -> PostgresServer:
        try:
            secret = self._folder / "password"
            secret.write_text(PASSWORD)
            if os.geteuid() == 0:
                for path in (self._folder, secret):
                    shutil.chown(path, self._user)
            data = str(self._folder / "data")
            self._run(
                "initdb", "-D", data, "-U", "tuner", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8"
            )
            options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
            self._run("pg_ctl", "-D", data, "-l", str(self._folder / "log"), "-o", options, "-w", "start")
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self) -> str:
        """The URL of a new database, with its password."""
        self._databases += 1
        name = f"tuning{self._databases}"
        environ = {**os.environ, "PGPASSWORD": PASSWORD}
        create = [str(self._bin / "createdb"), "-h", str(self._folder), "-U", "tuner", "-w", name]
        subprocess.run(create, env=environ, check=True, capture_output=True)
        return f"postgresql://tuner:{PASSWORD}@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open as long as the server does
            stderr=subprocess.DEVNULL,
            user=self._user if os.geteuid() == 0 else None,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            check=False,
        )
        if done.returncode:
            log = self._folder / "log"
            message = f"{program} failed: {log.read_text() if log.exists() else done.returncode}"
            raise RuntimeError(message)
