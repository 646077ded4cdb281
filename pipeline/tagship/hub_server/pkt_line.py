"""Git's lines with their length in front, and a push's commands and report made of them.

https://git-scm.com/docs/gitprotocol-common, https://git-scm.com/docs/gitprotocol-pack
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from msgspec import Struct

from tagship.hub_server.git import ZERO_OID
from tagship.hub_server.problem import HubProblem

FLUSH = b"0000"
_LENGTH = re.compile(rb"[0-9a-f]{4}")
_MOST_BYTES = 65_516
# So many refs nobody pushes at once; each is looked up.
_MOST_COMMANDS = 10_000
_COMMAND = re.compile(r"([0-9a-f]{40}) ([0-9a-f]{40}) (\S+)", re.ASCII)
_SHALLOW = re.compile(rb"shallow [0-9a-f]{40}\n?")


class Command(Struct, frozen=True):
    """Move `ref` from the object `old` to `new`; ZERO_OID stands for one that is not there."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        """Whether the ref is to go."""
        return self.new == ZERO_OID


class Commands(Struct, frozen=True):
    """What a push asks for, and which capabilities its client has chosen."""

    commands: tuple[Command, ...]
    capabilities: frozenset[str]


def pkt_line(data: bytes) -> bytes:
    """One line with its length."""
    return f"{len(data) + 4:04x}".encode() + data


def read_commands(body: BinaryIO) -> Commands:
    """The commands at the beginning of a push; the pack is what is left of `body`. Raises HubProblem (400)."""
    commands: list[Command] = []
    capabilities: frozenset[str] = frozenset()
    for line in _lines(body):
        # What the client does not have itself is told from what it leads to: see `pushing.py`.
        if _SHALLOW.fullmatch(line):
            continue
        text, _, chosen = line.partition(b"\0")
        match = _COMMAND.fullmatch(text.decode("utf-8", "replace").rstrip("\n"))
        if match is None or len(commands) == _MOST_COMMANDS:
            raise HubProblem(400, "This is not a push that git makes")
        commands.append(Command(*match.groups()))
        capabilities |= frozenset(chosen.decode("utf-8", "replace").split())
    return Commands(tuple(commands), capabilities)


def _lines(body: BinaryIO) -> Iterator[bytes]:
    """The lines up to the first flush. Raises HubProblem (400)."""
    while (length := body.read(4)) != FLUSH:
        if not _LENGTH.fullmatch(length) or int(length, 16) <= len(FLUSH):
            raise HubProblem(400, "This is not a push that git makes")
        size = int(length, 16) - len(FLUSH)
        line = body.read(size)
        if len(line) != size:
            raise HubProblem(400, "The push ends in the middle of a line")
        yield line


def report(commands: Commands, problems: dict[str, str], messages: Sequence[str], *, unpack: str) -> bytes:
    """The answer to a push: of each ref `ok` or why not, and messages that git prints behind `remote: `."""
    lines = [pkt_line(f"unpack {unpack}\n".encode())]
    for command in commands.commands:
        problem = problems.get(command.ref)
        text = f"ng {command.ref} {problem}\n" if problem else f"ok {command.ref}\n"
        lines.append(pkt_line(text.encode()))
    status = b"".join([*lines, FLUSH])
    if "side-band-64k" not in commands.capabilities:
        return status if "report-status" in commands.capabilities else b""
    said = "".join(f"{message}\n" for message in messages).encode()
    told = status if "report-status" in commands.capabilities else b""
    return b"".join([*_band(2, said), *_band(1, told), FLUSH])


def _band(number: int, data: bytes) -> Iterable[bytes]:
    room = _MOST_BYTES - 1
    return (pkt_line(bytes([number]) + data[start : start + room]) for start in range(0, len(data), room))
