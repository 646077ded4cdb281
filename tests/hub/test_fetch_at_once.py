"""Units that start at once on one node, with one cache: the base is fetched once for all of them."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from tagship.hub_server.app import EmbeddedHub

BASE, LARGE = "acme/base", "model.safetensors"
SIZE = 24_000_000
UNITS = 4
# The two ways to get a file: at once, and from Xet in parts.
WHOLE, PARTS = "resolve", "xorbs"
# What a unit does of it, once all are there.
FETCH = f"""
import sys
from huggingface_hub import HfApi
from tagship.hub.connection import Hub
from tagship.hub.fetch import fetch_base, locate_base
from tagship.runs.base import BaseModel

print("here", flush=True)
sys.stdin.readline()
api = HfApi(token=False)
located = locate_base(BaseModel(id={BASE!r}, license="mit"), Hub(lambda: api, embedded=False))
print(fetch_base(located).path)
"""


class CountingHub(EmbeddedHub):
    """The embedded Hub, which counts the bytes of files that it sends, by the way that they take. It reads its own Xet
    store by the client's library: whoever asks for a whole file has it ask itself for the parts."""

    def __init__(self, root: Path) -> None:
        super().__init__(root=root)
        self.sent: Counter[str] = Counter()
        hub = self._app

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            way = next((part for part in (WHOLE, PARTS) if f"/{part}/" in scope.get("path", "")), "")

            async def counted(message: Any) -> None:
                self.sent[way] += len(message.get("body", b""))
                await send(message)

            await hub(scope, receive, counted)

        self._app = counting  # type: ignore[assignment]


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[CountingHub]:
    """A Hub that has a base, of random weights, which nothing makes smaller."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / LARGE).write_bytes(os.urandom(SIZE))
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        (folder / name).write_text("{}")
    with CountingHub(tmp_path / "hub") as hub:
        api = HfApi(endpoint=hub.url, token=False)
        api.create_repo(BASE)
        api.upload_folder(repo_id=BASE, folder_path=folder)
        hub.sent.clear()
        yield hub


@pytest.mark.slow
@pytest.mark.parametrize("way", [WHOLE, PARTS])
def test_fetched_once(counting: CountingHub, tmp_path: Path, way: str) -> None:
    """Four processes with one empty cache ask at the same time: the weights leave the Hub once, whichever way the
    client takes, and all four have the same folder with them."""
    cache = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": counting.url}
    cache["HF_HUB_DISABLE_XET"] = str(int(way == WHOLE))
    units = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH],
            env={**os.environ, **cache},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(UNITS)
    ]
    for unit in units:
        assert unit.stdout is not None and unit.stdout.readline() == "here\n"
    for unit in units:
        assert unit.stdin is not None
        unit.stdin.write("go\n")
        unit.stdin.flush()
    ended = [(*unit.communicate(), unit.returncode) for unit in units]
    assert [code for _, _, code in ended] == [0] * UNITS, ended
    (folder,) = {said.strip() for said, _, _ in ended}
    assert (Path(folder) / LARGE).stat().st_size == SIZE
    assert SIZE <= counting.sent[way] < 1.1 * SIZE, counting.sent
    if way == PARTS:
        assert counting.sent[WHOLE] < 1000, counting.sent
