"""A Hub that runs jobs as processes of this machine: the embedded one, with `/api/jobs` before it. Of the tests alone,
as it runs what anybody sends."""

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tagship.hub_server.app import EmbeddedHub, Role

CREATED = "2026-01-01T00:00:00.000Z"


class JobsHub(EmbeddedHub):
    """Serves the embedded Hub, and jobs; `specs` are what was asked for, `cancelled` the numbers of jobs
    that were. `python` in a job is this one, and `pip`
    installs nothing, as the image of these jobs has tagship. Jobs whose number is in `failing` are ended at once; those
    that are done `in_turn` wait for each other, as this machine is the only one."""

    def __init__(self, root: Path, *, failing: Collection[int] = (), in_turn: bool = False) -> None:
        super().__init__(root=root / "hub", namespace="acme", tokens={"hf_writer": Role.WRITE})
        self.specs: list[dict[str, Any]] = []
        self._folder, self._failing, self._in_turn = root / "jobs", failing, in_turn
        self._processes: list[subprocess.Popen[bytes]] = []
        self.cancelled: set[int] = set()
        self._bin = root / "bin"
        self._bin.mkdir(parents=True)
        self._folder.mkdir()
        for name, line in (("python", f'exec {sys.executable} "$@"'), ("pip", 'echo "installing $*"')):
            (self._bin / name).write_text(f"#!/bin/sh\n{line}\n")
            (self._bin / name).chmod(0o755)
        routes = [
            Route("/api/jobs/{namespace}", self._start, methods=["POST"]),
            Route("/api/jobs/{namespace}/{job:int}", self._inspect),
            Route("/api/jobs/{namespace}/{job:int}/logs", self._logs),
            Route("/api/jobs/{namespace}/{job:int}/cancel", self._cancel, methods=["POST"]),
        ]
        jobs, hub = Starlette(routes=routes), self._app

        async def both(scope: Any, receive: Any, send: Any) -> None:
            await (jobs if scope.get("path", "").startswith("/api/jobs") else hub)(scope, receive, send)

        self._app = both  # type: ignore[assignment]

    async def _start(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer hf_writer":
            return JSONResponse({"error": "no token"}, status_code=401)
        spec = await request.json()
        number = len(self.specs)
        self.specs.append(spec)
        command = ["bash", "-c", "echo out of memory; exit 137"] if number in self._failing else spec["command"]
        if self._in_turn:
            command = ["flock", "--no-fork", str(self._folder), *command]
        with (self._folder / f"{number}.log").open("wb") as log:
            environment = {
                "PATH": f"{self._bin}:{os.environ['PATH']}",
                "HOME": os.environ["HOME"],
                **spec["environment"],
                **spec.get("secrets", {}),
            }
            process = subprocess.Popen(command, env=environment, cwd=self._folder, stdout=log, stderr=log)
        self._processes.append(process)
        return self._told(request.path_params["namespace"], number)

    async def _inspect(self, request: Request) -> Response:
        return self._told(request.path_params["namespace"], request.path_params["job"])

    async def _logs(self, request: Request) -> Response:
        text = (self._folder / f"{request.path_params['job']}.log").read_text()
        events = [f"data: {json.dumps({'data': line, 'timestamp': CREATED})}\n\n" for line in text.splitlines()]
        return Response("".join(events), media_type="text/event-stream")

    async def _cancel(self, request: Request) -> Response:
        self.cancelled.add(request.path_params["job"])
        self._processes[request.path_params["job"]].kill()
        self._processes[request.path_params["job"]].wait()
        return JSONResponse({})

    def _told(self, namespace: str, number: int) -> Response:
        code = self._processes[number].poll()
        stage = "RUNNING" if code is None else "COMPLETED" if code == 0 else "ERROR"
        return JSONResponse(
            {
                "id": str(number),
                "createdAt": CREATED,
                "owner": {"id": "1", "name": namespace, "type": "org"},
                "status": {"stage": "CANCELED" if number in self.cancelled else stage},
            }
        )
