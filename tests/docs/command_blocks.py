"""The commands of a page, as its reader would type them, in order and in one shell.

A comment in the page's source says what is not so: `<!-- not run: REASON -->` before a block that needs what a test has
not, `<!-- run in: FOLDER -->` before one that is for another folder than the block before it.
"""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

PORT = "8765"
_BLOCK = re.compile(r"(?:<!-- (not run|run in): ([^>]+) -->\n)?^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Serves until it is interrupted, in a terminal of its own.
_SERVES = re.compile(r"^(\w+ hub)(?= *(?:#|$))", re.MULTILINE)
# What installs is left out: the environment of the tests is what it would make. A command that fails ends the page.
_BEGIN = """\
set -eo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
pip() { echo "left out: pip $*"; }
listens() { for _ in $(seq 600); do (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.1; done; return 1; }
"""


class Block(Struct, frozen=True, kw_only=True):
    """Commands of a page; `reason` is why they are not run, `folder` where they are, if not where those before them."""

    commands: str
    reason: str | None = None
    folder: str | None = None


def blocks_of(page: Path) -> Iterator[Block]:
    """Every block of commands of a page, in order."""
    for kind, said, commands in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield Block(
            commands=commands,
            reason=said if kind == "not run" else None,
            folder=said if kind == "run in" else None,
        )


def script_of(page: Path, port: int) -> str:
    """A script of bash that does what the page says; the embedded Hub is on a port that is free."""
    return _BEGIN + "".join(_typed(block, port) for block in blocks_of(page) if block.reason is None)


def _typed(block: Block, port: int) -> str:
    commands = _SERVES.sub(rf"\1 --port {PORT} & listens {PORT}", block.commands).replace(PORT, str(port))
    shown = f"set -v\n{commands}{{ set +v; }} 2>/dev/null\n"
    return f"(cd {block.folder}\n{shown})\n" if block.folder else shown


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
