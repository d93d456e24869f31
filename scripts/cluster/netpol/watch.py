"""List and watch of one resource of the kube-apiserver, over http.client."""

import http.client
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API_PORT = 6443
WATCH_SECONDS = 240
"""The server ends a watch after this time; a dead connection is noticed a little later."""
RETRY_SECONDS = 1.0

Document = dict[str, Any]


class ExpiredError(Exception):
    """The server no longer has the version that the watch wanted to go on from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """Opens authenticated requests to one kube-apiserver address."""

    host: str
    tls: ssl.SSLContext

    def get(self, path: str) -> http.client.HTTPResponse:
        """Returns the open response; raises OSError for any status but 200."""
        connection = http.client.HTTPSConnection(self.host, API_PORT, context=self.tls, timeout=WATCH_SECONDS + 30)
        token = (ACCOUNT / "token").read_text().strip()  # read anew: the kubelet rotates it
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
        response = connection.getresponse()
        if response.status == http.client.GONE:
            raise ExpiredError(path)
        if response.status != http.client.OK:
            raise OSError(f"GET {path}: {response.status} {response.read(500)!r}")
        return response


@dataclass(slots=True, kw_only=True)
class Mirror:
    """A copy of all objects of one resource, by namespace and name; calls ``changed`` after each change."""

    server: ApiServer
    path: str
    changed: Callable[[], None]
    objects: Mapping[tuple[str, str], Document] | None = field(default=None, init=False)
    """None until the first list; replaced, never edited, so that another thread may read it at any time."""

    def run(self) -> None:
        """Lists and watches for ever; errors are logged and tried again."""
        pause = threading.Event()
        while True:
            try:
                version = self._list()
                while True:
                    version = self._watch(version)
            except ExpiredError:
                continue
            except (OSError, http.client.HTTPException, ValueError) as problem:
                sys.stdout.write(json.dumps({"event": "watch failed", "path": self.path, "error": str(problem)}) + "\n")
                pause.wait(RETRY_SECONDS)

    def _list(self) -> str:
        with self.server.get(self.path) as response:
            answer = json.load(response)
        self._replace({_key(item): item for item in answer["items"]})
        return str(answer["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        query = f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}"
        with self.server.get(self.path + query) as response:
            for event in _lines(response):
                version = self._take(event["type"], event["object"])
        return version

    def _take(self, kind: str, document: Document) -> str:
        if kind == "ERROR":
            raise ExpiredError(str(document.get("message")))
        if kind != "BOOKMARK":
            rest = {key: value for key, value in (self.objects or {}).items() if key != _key(document)}
            self._replace(rest if kind == "DELETED" else {**rest, _key(document): document})
        return str(document["metadata"]["resourceVersion"])

    def _replace(self, objects: Mapping[tuple[str, str], Document]) -> None:
        self.objects = objects
        self.changed()


def _key(document: Document) -> tuple[str, str]:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _lines(response: http.client.HTTPResponse) -> Iterator[Document]:
    while line := response.readline():
        yield json.loads(line)


def in_cluster_server(host: str) -> ApiServer:
    """Returns the server at ``host`` with the Pod's own credentials."""
    return ApiServer(host=host, tls=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")))
