"""Small JSON documents beside the repositories: read at any time, changed by one at a time, never seen half written."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.hub_server.blobs import write_whole


class Record(Struct, frozen=True):
    """The JSON object in the file `path`, empty as long as there is no file."""

    path: Path

    def read(self) -> dict[str, Any]:
        """What is in it."""
        try:
            data = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        assert isinstance(data, dict)
        return data

    @contextmanager
    def change(self) -> Iterator[dict[str, Any]]:
        """What is in it; kept as it is at the end of the block, unless the block raises.

        Raises FileNotFoundError if the folder is gone.
        """
        descriptor = os.open(self.path.with_suffix(".flock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            data = self.read()
            yield data
            write_whole(self.path, json.dumps(data, ensure_ascii=False).encode(), scratch=self.path.parent)
        finally:
            os.close(descriptor)
