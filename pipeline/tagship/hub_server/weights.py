"""What the headers of a model's weights say: how many parameters of which type, which architecture.

Only the head of each file is read, once: it is kept by the file's SHA-256.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request

from tagship.hub_server.backend import Backend, backend
from tagship.hub_server.gguf_header import read_gguf
from tagship.hub_server.headers import BadHeader, Bytes
from tagship.hub_server.history import Entry, entries_at, file_bytes
from tagship.hub_server.records import Record
from tagship.hub_server.repos import Repo
from tagship.hub_server.safetensors_header import parameters, read_safetensors

# The first file that there is of these tells of the model: of shards, all.
_WHOLE = ("model.safetensors", "adapter_model.safetensors", "consolidated.safetensors")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors", re.ASCII)
_MOST_SHARDS = 500


def with_weights(request: Request, repo: Repo, shape: Mapping[str, Any]) -> dict[str, Any]:
    """The model with `safetensors` and `gguf`, where there are such files that can be read."""
    paths = [sibling["rfilename"] for sibling in shape["siblings"]]
    found = {
        "safetensors": _safetensors(request, repo, shape["sha"], paths),
        "gguf": _gguf(request, repo, shape["sha"], paths),
    }
    return {**shape, **{key: value for key, value in found.items() if value}}


def _safetensors(request: Request, repo: Repo, commit: str, paths: list[str]) -> dict[str, Any] | None:
    chosen = [path for path in _WHOLE if path in paths][:1] or [path for path in paths if _SHARD.fullmatch(path)]
    counts: dict[str, int] = {}
    for entry in entries_at(repo, commit, chosen[:_MOST_SHARDS]):
        kept = _kept(request, repo, entry, "safetensors")
        if kept is None:
            return None
        for dtype, count in kept.items():
            counts[dtype] = counts.get(dtype, 0) + count
    return {"parameters": counts, "total": sum(counts.values())} if counts else None


def _gguf(request: Request, repo: Repo, commit: str, paths: list[str]) -> dict[str, Any] | None:
    # The Hub's clients know an importance matrix by its name, too.
    chosen = next((path for path in paths if path.endswith(".gguf") and "imatrix" not in path), None)
    found = entries_at(repo, commit, [chosen]) if chosen else []
    return _kept(request, repo, found[0], "gguf") if found else None


def _kept(request: Request, repo: Repo, entry: Entry, what: str) -> dict[str, Any] | None:
    """What a file's header says, from what was kept or from the file; None if it cannot be read."""
    hub = backend(request)
    record = Record(hub.root / "headers" / f"{entry.pointer.sha256 if entry.pointer else entry.oid}.json")
    known = record.read()
    if not known:
        try:
            known = {what: _HEADERS[what](head_of(request, repo, entry))}
        except BadHeader:
            known = {what: None}
        record.path.parent.mkdir(exist_ok=True)
        with record.change() as data:
            data |= known
    return known.get(what)


def _parameters(head: Bytes) -> dict[str, Any]:
    return dict(parameters(read_safetensors(head)))


_HEADERS: Mapping[str, Callable[[Bytes], dict[str, Any]]] = {"safetensors": _parameters, "gguf": read_gguf}


class Head:
    """The bytes of a file from its beginning on, read as they are needed."""

    def __init__(self, hub: Backend, request: Request, repo: Repo, entry: Entry) -> None:
        self.size = entry.size
        self._file = hub.files.find(entry.pointer.sha256) if entry.pointer else None
        self._data = b"" if self._file else file_bytes(repo, entry)
        self._hub, self._request = hub, request

    def take(self, size: int) -> bytes:
        """The first `size` bytes, fewer if there are no more."""
        size = min(size, self.size)
        if self._file is not None and len(self._data) < size:
            hub = self._hub
            cas_url, token = hub.cas_url(self._request), hub.signer.grant("xet:read")
            self._data = b"".join(hub.files.read(self._file, 0, size, cas_url=cas_url, token=token))
        return self._data[:size]


def head_of(request: Request, repo: Repo, entry: Entry) -> Head:
    """The head of a file of the repository."""
    return Head(backend(request), request, repo, entry)


def safetensors_headers(request: Request, repo: Repo, entries: list[Entry]) -> dict[str, Any]:
    """The header of each shard, by its path. Raises BadHeader."""
    return {entry.path: read_safetensors(head_of(request, repo, entry)) for entry in entries}
