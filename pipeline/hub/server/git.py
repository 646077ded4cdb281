"""Git plumbing on one bare repository, deaf to the user's configuration and environment."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

IDENTITY = "tagship hub"
EMAIL = "hub@localhost"
ZERO_OID = "0" * 40


class GitFailed(Exception):
    """Git said no; the message is its own.

    `status` is its exit status; for many commands 1 is an answer ("none") and more is a failure.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _environment(index: Path | None) -> dict[str, str]:
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
    }
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    return environment


@dataclass(frozen=True, kw_only=True, slots=True)
class Git:
    """Runs git against the bare repository `git_dir`."""

    git_dir: Path

    def run(self, *arguments: str, feed: bytes = b"", index: Path | None = None) -> bytes:
        """Git's standard output for `arguments`, with `feed` as its input and `index` as its index file.

        Raises GitFailed if git exits with anything but 0.
        """
        done = subprocess.run(
            ["git", f"--git-dir={self.git_dir}", *arguments],
            input=feed,
            capture_output=True,
            env=_environment(index),
            check=False,
        )
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed"
            raise GitFailed(message, done.returncode)
        return done.stdout

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

    def commit_oids(self, expressions: list[str]) -> list[str | None]:
        """The commit that each revision expression peels to, None where there is none."""
        feed = "".join(f"{expression}^{{commit}}\n" for expression in expressions).encode()
        answers = self.run("cat-file", "--batch-check=%(objecttype) %(objectname)", feed=feed).decode()
        return [
            answer.removeprefix("commit ") if answer.startswith("commit ") else None for answer in answers.splitlines()
        ]

    def contents(self, oids: list[str]) -> list[bytes]:
        """The contents of existing objects, in order, by one process; meant for small ones."""
        if not oids:
            return []
        output = self.run("cat-file", "--batch", feed="".join(f"{oid}\n" for oid in oids).encode())
        found, position = [], 0
        for _ in oids:
            start = output.index(b"\n", position) + 1
            size = int(output[position:start].split()[2])
            found.append(output[start : start + size])
            position = start + size + 1
        return found

    def store_files(self, paths: list[Path]) -> list[str]:
        """Write the bytes of these files as blobs, unfiltered; their object ids, in order."""
        if not paths:
            return []
        feed = "".join(f"{path}\n" for path in paths).encode()
        return self.line("hash-object", "-w", "--no-filters", "--stdin-paths", feed=feed).split()
