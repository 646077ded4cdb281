"""Git plumbing on one bare repository, deaf to the user's configuration and environment."""

import fcntl
import io
import os
import re
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from tagship.hub_server.durable import sync, sync_names
from tagship.hub_server.git_reader import READERS, Found, Reader, ReaderFailed

IDENTITY = "tagship hub"
EMAIL = "hub@localhost"
ZERO_OID = "0" * 40

_NO_REPOSITORY = 128
_SHORTENED = re.compile(r"[0-9a-f]{4,39}(\^|$)", re.ASCII)
_PLAIN_CONFIG = re.compile(r"(?:\[[A-Za-z.-]+\]\n|\t[A-Za-z][A-Za-z0-9-]* = [\w./:@+-]*\n)*")
_LOCKED = re.compile(r"Unable to create '.*\.lock': File exists|could not lock config file")
_BLOCK_BYTES = 1 << 20
_WITH_FSYNC = (2, 36)
# From how many objects on a process of their own is quicker than asking for one after another.
_MANY = 100


class GitFailed(Exception):
    """Git said no; the message is its own.

    `status` is its exit status; for many commands 1 is an answer ("none") and more is a failure. `output` is what it
    printed all the same.
    """

    def __init__(self, message: str, status: int, output: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.output = output


@cache
def _version() -> tuple[int, ...]:
    printed = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"[0-9]+", printed)[:2])


def remove_locks(git_dir: Path) -> list[Path]:
    """Remove git's lock files of refs and settings, for one who knows that no git holds them; which there were."""
    found = [*git_dir.glob("*.lock"), *(git_dir / "refs").rglob("*.lock")]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _environment(index: Path | None = None) -> dict[str, str]:
    # An inherited GIT_DIR or GIT_INDEX_FILE (a hook of the user's repository sets them) would
    # point these commands at the wrong repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": IDENTITY,
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_COMMITTER_NAME": IDENTITY,
        "GIT_COMMITTER_EMAIL": EMAIL,
        "LC_ALL": "C",
        "TZ": "UTC",
        # What is acknowledged is on the disk. Git before 2.36 has the second of these keys only.
        "GIT_CONFIG_COUNT": "2" if _version() < _WITH_FSYNC else "1",
        "GIT_CONFIG_KEY_0": "core.fsync",
        "GIT_CONFIG_VALUE_0": "objects,reference",
        "GIT_CONFIG_KEY_1": "core.fsyncObjectFiles",
        "GIT_CONFIG_VALUE_1": "true",
    }
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    return environment


class Git(Struct, frozen=True, kw_only=True):
    """Runs git against the bare repository `git_dir`; `variables` are added to git's environment."""

    git_dir: Path
    variables: tuple[tuple[str, str], ...] = ()

    def run(
        self, *arguments: str, feed: bytes = b"", index: Path | None = None, source: BinaryIO | None = None
    ) -> bytes:
        """Git's standard output for `arguments`, with `feed` or the rest of the file `source` as its input and
        `index` as its index file.

        Files in `arguments` and `feed` are absolute, or relative to the repository.
        Raises GitFailed if git exits with anything but 0.
        """
        given: Any = subprocess.PIPE
        if source is not None:
            os.lseek(source.fileno(), source.tell(), os.SEEK_SET)  # where we are, not where Python has read to
            given = source
        with self._started(arguments, given, subprocess.PIPE, index) as process:
            output, errors = process.communicate(feed if source is None else None)
        if process.returncode:
            message = errors.decode(errors="replace").strip() or f"git {arguments[0]} failed"
            raise GitFailed(message, process.returncode, output)
        return output

    def stream(self, *arguments: str, feed: bytes) -> Generator[bytes, None, None]:
        """Git's standard output as it comes, of a command that reads all of `feed` before it answers.

        Raises GitFailed if git fails before it has printed anything; what it says later is in its protocol.
        """
        printed = False
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
            given.write(feed)
            given.seek(0)
            with self._started(arguments, given, errors) as process:
                assert isinstance(process.stdout, io.BufferedReader)
                while block := process.stdout.read1(_BLOCK_BYTES):
                    printed = True
                    yield block
            if process.returncode and not printed:
                errors.seek(0)
                raise GitFailed(errors.read().decode(errors="replace").strip(), process.returncode)

    @contextmanager
    def _started(
        self, arguments: Sequence[str], given: Any, errors: Any, index: Path | None = None
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """A git that is killed if it has not ended by itself because whoever wanted its output has gone."""
        try:
            process = subprocess.Popen(
                # By its place, not by its path: so git keeps to a repository that is moved meanwhile.
                ["git", "--git-dir=.", *arguments],
                cwd=self.git_dir,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment(index),
                umask=0o077,
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            if self.git_dir.is_dir():
                raise  # git itself is missing
            raise GitFailed(f"not a git repository: {self.git_dir}", _NO_REPOSITORY) from error
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    @contextmanager
    def held(self, operation: int) -> Iterator[None]:
        """Hold the repository's folder, by LOCK_SH to change files in it, by LOCK_EX to move it.

        Git removes its lock files by their paths: one that was moved on the way would stay for ever.
        Raises GitFailed if the repository is not at its place any longer.
        """
        try:
            descriptor = os.open(self.git_dir, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise GitFailed(f"not a git repository: {self.git_dir}", _NO_REPOSITORY) from error
        try:
            fcntl.flock(descriptor, operation)
            if not (self.git_dir.exists() and os.path.samestat(os.fstat(descriptor), self.git_dir.stat())):
                raise GitFailed(f"not a git repository any longer: {self.git_dir}", _NO_REPOSITORY)
            yield
        finally:
            os.close(descriptor)

    def change(self, *arguments: str, feed: bytes = b"") -> None:
        """Run a command that locks a ref or the configuration to change it. Raises GitFailed as `run` does."""
        try:
            self._change(arguments, feed)
        except GitFailed as error:
            if not _LOCKED.search(str(error)):
                raise
            # Git has waited for the other one. Whoever holds the folder alone knows that there is none.
            with self.held(fcntl.LOCK_EX):
                remove_locks(self.git_dir)
            self._change(arguments, feed)

    def _change(self, arguments: Sequence[str], feed: bytes) -> None:
        with self.held(fcntl.LOCK_SH):
            self.run(*arguments, feed=feed)
            names = {word for word in (*arguments, *feed.decode().split()) if word.startswith("refs/")}
            for path in [self.git_dir / name for name in names] or [self.git_dir / "config"]:
                if path.is_file():
                    sync(path)
                sync_names(path, below=self.git_dir)

    def asks(self, *arguments: str, feed: bytes = b"") -> bytes | None:
        """The same for a command that answers "none" by exit status 1: None then."""
        try:
            return self.run(*arguments, feed=feed)
        except GitFailed as error:
            if error.status != 1:
                raise
            return None

    def line(self, *arguments: str, feed: bytes = b"", index: Path | None = None) -> str:
        """The same, as one stripped line of text."""
        return self.run(*arguments, feed=feed, index=index).decode().strip()

    def setting(self, section: str, key: str) -> str | None:
        """A value of the repository's own configuration, None without one. Raises GitFailed.

        As git writes it, one plain value in a line, it is read without starting git.
        """
        try:
            text = (self.git_dir / "config").read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise GitFailed(f"not a git repository: {self.git_dir}", _NO_REPOSITORY) from error
        if not _PLAIN_CONFIG.fullmatch(text):
            value = self.asks("config", "--local", "--get", f"{section}.{key}")
            return None if value is None else value.decode().strip()
        values = re.findall(rf"^\[{section}\]\n(?:\t.*\n)*?\t{key} = (.*)$", text, re.MULTILINE | re.IGNORECASE)
        return values[-1] if values else None

    def _environment(self, index: Path | None = None) -> dict[str, str]:
        return _environment(index) | dict(self.variables)

    @contextmanager
    def _reader(self, *, fresh: bool = False) -> Iterator[Reader]:
        """A process that reads this repository, one that stays if there is no reason against it."""
        try:
            if fresh or self.variables:
                with closing(Reader(self.git_dir, self._environment)) as reader:
                    yield reader
            else:
                yield READERS.of(self.git_dir, self._environment)
        except ReaderFailed as error:
            raise GitFailed(str(error), _NO_REPOSITORY) from error

    def info(self, expressions: list[str]) -> list[Found | None]:
        """The object that each revision expression leads to, None where there is none. Raises GitFailed."""
        # A process that stays does not look again which objects an abbreviation could mean.
        fresh = any(_SHORTENED.match(expression) for expression in expressions)
        with self._reader(fresh=fresh) as reader:
            return reader.info(expressions)

    def commit_oids(self, expressions: list[str]) -> list[str | None]:
        """The commit that each revision expression peels to, None where there is none. Raises GitFailed."""
        found = self.info([f"{expression}^{{commit}}" for expression in expressions])
        return [None if commit is None else commit.oid for commit in found]

    def contents(self, oids: list[str]) -> list[bytes]:
        """The contents of existing objects, in order; meant for small ones. Raises GitFailed."""
        if len(oids) < _MANY:
            with self._reader() as reader:
                return [reader.content(oid) for oid in oids]
        output = self.run("cat-file", "--batch", feed="".join(f"{oid}\n" for oid in oids).encode())
        found, position = [], 0
        for _ in oids:
            start = output.index(b"\n", position) + 1
            size = int(output[position:start].split()[2])
            found.append(output[start : start + size])
            position = start + size + 1
        return found

    def each_content(self, oids: Iterable[str]) -> Iterator[bytes]:
        """The contents of existing objects, one in memory at a time. Raises GitFailed."""
        with self._reader(fresh=True) as reader:
            for oid in oids:
                yield reader.content(oid)

    def store_files(self, paths: list[Path]) -> list[str]:
        """Write the bytes of these files as blobs, unfiltered; their object ids, in order."""
        if not paths:
            return []
        feed = "".join(f"{path}\n" for path in paths).encode()
        write = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        if len(paths) < _MANY:
            return self.line(*write, feed=feed).split()
        # One file to wait for until it is on the disk, in place of thousands.
        oids = self.line("-c", "core.fsync=none", *write, feed=feed).split()
        pack = "".join(f"{oid}\n" for oid in dict.fromkeys(oids)).encode()
        self.run("pack-objects", "--quiet", "objects/pack/pack", feed=pack)
        sync(self.git_dir / "objects" / "pack")
        self.run("prune-packed", "--quiet")
        return oids
