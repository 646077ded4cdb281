"""`git cat-file` processes that stay: what most requests ask of git, without starting it for each."""

import contextlib
import os
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

# Each is two processes of some megabytes.
_READERS = 8
# What is asked at once: the answers must fit into a pipe, or git would wait for us while we wait for it.
_ASKED_BYTES = 16_000
_ANSWER_BYTES = 100

_FORMAT = "%(objecttype) %(objectname) %(objectsize)"

_Key = tuple[int, int]


class ReaderFailed(Exception):
    """The process ended, or there is no repository for it."""


class Found(NamedTuple):
    """What git knows of an object without reading all of it; `size` is in bytes."""

    kind: str
    oid: str
    size: int


class _Process:
    """One `git cat-file` in a repository."""

    def __init__(self, git_dir: Path, mode: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["git", "--git-dir=.", "cat-file", mode],
            cwd=git_dir,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def ask(self, text: bytes) -> IO[bytes]:
        """Send lines; the stream that the answers come from. Raises ReaderFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except OSError as error:
            raise ReaderFailed(f"git cat-file ended: {error}") from error
        return self._process.stdout

    def close(self) -> None:
        """End the process; it ends by itself once nobody writes to it."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._process.wait()


class Reader:
    """The objects of one repository; `info` and `content` may be called by any thread, one at a time gets in."""

    def __init__(self, git_dir: Path, environment: Callable[[], dict[str, str]]) -> None:
        self.key = _key(git_dir)
        self.git_dir = git_dir
        self._environment = environment
        self._processes: dict[str, _Process] = {}
        self._lock = threading.Lock()
        self.broken = False

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except BaseException:
                # Answers may be left in the pipe, which the next one would take for theirs.
                self.broken = True
                raise

    def _process(self, mode: str) -> _Process:
        if mode not in self._processes:
            try:
                self._processes[mode] = _Process(self.git_dir, mode, self._environment())
            except (FileNotFoundError, NotADirectoryError) as error:
                if self.git_dir.is_dir():
                    raise  # git itself is missing
                raise ReaderFailed(f"not a git repository: {self.git_dir}") from error
            if _key(self.git_dir) != self.key:
                raise ReaderFailed(f"not a git repository any longer: {self.git_dir}")
        return self._processes[mode]

    def info(self, expressions: Sequence[str]) -> list[Found | None]:
        """The object that each expression leads to, None where there is none. Raises ReaderFailed."""
        found: list[Found | None] = []
        with self._asking():
            process = self._process(f"--batch-check={_FORMAT}")
            for part in _parts(expressions):
                answers = process.ask(b"".join(part))
                found += [_found(_line(answers)) for _ in part]
        return found

    def content(self, oid: str) -> bytes:
        """The bytes of an object. Raises ReaderFailed if it is not there."""
        with self._asking():
            answers = self._process(f"--batch={_FORMAT}").ask(f"{oid}\n".encode())
            header = _found(_line(answers))
            if header is None:
                raise ReaderFailed(f"there is no object {oid}")
            content = answers.read(header.size + 1)
            if len(content) != header.size + 1:
                raise ReaderFailed("git cat-file ended in the middle of an answer")
            return content[:-1]

    def close(self) -> None:
        """End the processes, once the request that uses them is through."""
        with self._lock:
            self.broken = True
            for process in self._processes.values():
                process.close()
            self._processes.clear()


def _parts(expressions: Sequence[str]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for expression in expressions:
        if "\n" in expression:
            raise ReaderFailed(f"not one line: {expression!r}")
        line = f"{expression}\n".encode()
        if part and size + len(line) + _ANSWER_BYTES > _ASKED_BYTES:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line) + _ANSWER_BYTES
    if part:
        yield part


def _line(answers: IO[bytes]) -> bytes:
    line = answers.readline()
    if not line.endswith(b"\n"):
        raise ReaderFailed("git cat-file ended")
    return line


def _found(answer: bytes) -> Found | None:
    """An answer of git's: kind, id and size, or the expression and `missing` or `ambiguous`."""
    kind, *rest = answer.rsplit(b" ", 2)
    if kind in (b"commit", b"tree", b"blob", b"tag") and len(rest) == 2 and rest[1].strip().isdigit():
        return Found(kind.decode(), rest[0].decode(), int(rest[1]))
    return None


class Readers:
    """The readers of the repositories that were used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: OrderedDict[_Key, Reader] = OrderedDict()

    def of(self, git_dir: Path, environment: Callable[[], dict[str, str]]) -> Reader:
        """The reader of the repository that is at this place now. Raises ReaderFailed if there is none.

        A repository is known by its folder's number, which stays if it is moved and is not given to another one
        as long as a process works in it.
        """
        key = _key(git_dir)
        dropped: list[Reader] = []
        with self._lock:
            reader = self._readers.pop(key, None)
            if reader is None or reader.broken:
                dropped += [] if reader is None else [reader]
                reader = Reader(git_dir, environment)
            reader.git_dir = git_dir
            self._readers[reader.key] = reader
            while len(self._readers) > _READERS:
                dropped.append(self._readers.popitem(last=False)[1])
        for old in dropped:
            old.close()
        return reader

    def close(self, below: Path) -> None:
        """End those of the repositories that are, or were when they were opened, in this folder or are it."""
        with self._lock:
            gone = [key for key, reader in self._readers.items() if below in (reader.git_dir, *reader.git_dir.parents)]
            dropped = [self._readers.pop(key) for key in gone]
        for reader in dropped:
            reader.close()


def _key(git_dir: Path) -> _Key:
    try:
        status = os.stat(git_dir)
    except OSError as error:
        raise ReaderFailed(f"not a git repository: {git_dir}") from error
    return status.st_dev, status.st_ino


READERS = Readers()
