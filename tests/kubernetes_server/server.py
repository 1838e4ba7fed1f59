"""The API of a cluster over HTTP: what metricgate asks for, refused where Kubernetes would refuse it."""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from pathlib import Path
from typing import Any

from tests import http_servers
from tests.kubernetes_server import contract
from tests.kubernetes_server.cluster import Cluster

HOST = "127.0.0.1"
_PLACES = {
    ("apis/batch/v1", "jobs"): "Job",
    ("apis/jobset.x-k8s.io/v1alpha2", "jobsets"): "JobSet",
    ("api/v1", "pods"): "Pod",
    ("api/v1", "services"): "Service",
    ("api/v1", "events"): "Event",
}
_PATH = re.compile(r"/(apis?(?:/[^/]+)?/v[^/]+)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?")
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    422: "Invalid",
    503: "ServiceUnavailable",
}


class KubernetesServer:
    """A cluster's API.

    Attributes:
        cluster: What is behind it.
        token: What a client has to bring.
        forbidden: Methods and kinds that this client may not.
        lacks: Kinds that the cluster does not know.
        away: Whether it answers that it is overloaded.
        page: How many items a page of a list has.
        requests: The methods and paths that were asked for.
    """

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.token = "of-a-service-account"
        self.forbidden: set[tuple[str, str]] = set()
        self.lacks: set[str] = set()
        self.away = False
        self.page = 500
        self.requests: list[str] = []
        owner = self

        class Handler(_Handler):
            server_ = owner

        self._server = http_servers.Server((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> KubernetesServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.cluster.close()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def kubeconfig(self, path: Path, *, token: str | None = None) -> Path:
        """Write a file by which clients find it."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.address}}],
            "users": [{"name": "runner", "user": {"token": self.token if token is None else token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "runner"}}],
        }
        path.write_text(json.dumps(config))  # which is YAML, too
        return path


class _Handler(http_servers.Handler):
    server_: KubernetesServer

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        self._query = dict(urllib.parse.parse_qsl(parts.query))
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        owner = self.server_
        owner.requests.append(f"{self.command} {parts.path}")
        match = _PATH.fullmatch(parts.path)
        kind = _PLACES.get((match[1], match[3])) if match else None
        if owner.away:
            self._refuse(503, "the server is currently unable to handle the request")
        elif self.headers.get("Authorization") != f"Bearer {owner.token}":
            self._refuse(401, "Unauthorized")
        elif match is None or kind is None or kind in owner.lacks:
            self._say(404, b"404 page not found\n", "text/plain") if match is None else self._refuse(
                404, "the server could not find the requested resource"
            )
        elif (self.command, kind) in owner.forbidden:
            self._refuse(
                403, f'{match[3]} is forbidden: User "system:serviceaccount:default:runner" cannot {self.command.lower()} them'
            )
        else:
            with owner.cluster.lock:
                self._answer(kind, match[4] or "", body)

    def _answer(self, kind: str, name: str, body: Any) -> None:
        cluster = self.server_.cluster
        if self.command == "POST":
            if found := contract.problems(kind, body):
                self._refuse(422, f"{kind} is invalid: {'; '.join(found)}")
            elif (kind, body["metadata"]["name"]) in cluster.objects:
                self._refuse(409, f'{kind} "{body["metadata"]["name"]}" already exists')
            else:
                self._send(201, _shown(kind, cluster.create(kind, body)))
        elif self.command == "GET" and not name:
            self._list(kind)
        elif (kind, name) not in cluster.objects:
            self._refuse(404, f'{kind} "{name}" not found')
        elif self.command == "GET":
            self._send(200, _shown(kind, cluster.objects[kind, name]))
        elif self.command == "DELETE":
            self._delete(kind, name, body)
        else:
            self._refuse(405, "not served here")

    def _delete(self, kind: str, name: str, body: Any) -> None:
        options = {**(body or {}), **{key: value for key, value in self._query.items() if key != "pretty"}}
        if "gracePeriodSeconds" in options:
            options["gracePeriodSeconds"] = int(options["gracePeriodSeconds"])
        wrong = [error.message for error in contract.validator("DeleteOptions").iter_errors(options)]
        if wrong or options.get("propagationPolicy", "Foreground") != "Foreground":
            self._refuse(422, f"DeleteOptions: {wrong}")
            return
        found = self.server_.cluster.objects[kind, name]
        self.server_.cluster.delete(kind, name, options.get("gracePeriodSeconds"))
        self._send(200, _shown(kind, found))  # what goes in its time is answered as what it is, and not as a Status

    def _list(self, kind: str) -> None:
        cluster = self.server_.cluster
        found = [item for (of, _), item in cluster.objects.items() if of == kind] if kind != "Event" else list(cluster.events)
        for part in filter(None, self._query.get("labelSelector", "").split(",")):
            key, _, value = part.partition("=")
            found = [item for item in found if item["metadata"].get("labels", {}).get(key) == value]
        if selector := self._query.get("fieldSelector"):
            assert selector.startswith("involvedObject.uid=")
            found = [item for item in found if item["involvedObject"]["uid"] == selector.partition("=")[2]]
        start = int(self._query.get("continue") or 0)
        end = start + min(self.server_.page, int(self._query.get("limit") or self.server_.page))
        version = {"Job": "batch/v1", "JobSet": "jobset.x-k8s.io/v1alpha2"}.get(kind, "v1")
        more = {"continue": str(end)} if end < len(found) else {}
        items = [_shown(kind, item) for item in found[start:end]]
        self._send(
            200, {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "1", **more}, "items": items}
        )

    def _refuse(self, status: int, message: str) -> None:
        reason = _REASONS.get(status, "MethodNotAllowed")
        self._send(
            status,
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": status},
        )

    def _send(self, status: int, document: Any) -> None:
        self._say(status, json.dumps(document).encode(), "application/json")

    def _say(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _shown(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """An object without what only this cluster knows; its status is checked as well, so that the clients get what is real."""
    shown = {key: value for key, value in item.items() if not key.startswith("_")}
    if kind in ("Job", "Pod"):
        checked = {"apiVersion": "batch/v1" if kind == "Job" else "v1", "kind": kind, **shown}
        wrong = [error.message for error in contract.validator(kind).iter_errors(checked)]
        assert not wrong, wrong
    return shown
