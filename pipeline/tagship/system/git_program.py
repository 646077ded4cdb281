"""The git program, as everything else here calls it: the only module that imports GitPython."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tagship.system.ending import end_with_children
from tagship.system.errors import ReleaseError, ToolError

try:
    import git
except ImportError as error:  # GitPython looks for the git program when it is imported
    raise ReleaseError("git is not installed", remedy="apt-get install git") from error

_SSH = "ssh -oBatchMode=yes -oConnectTimeout=10 -oServerAliveInterval=10 -oServerAliveCountMax=2"
# For a remote's answer; a server that takes no byte over HTTP for as long is given up, too.
ANSWER_SECONDS = 30
_HTTP_LIMITS = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": str(ANSWER_SECONDS)}
# What git says of every remote that it cannot read, below why it cannot.
_SAID_OF_ALL = (
    "Could not read from remote repository",
    "Please make sure you have the correct access rights",
    "and the repository exists",
)


class Git:
    """git in the repository that holds `folder`. Raises ReleaseError where there is none.

    What is printed loses its last line end. All but `answer` raise ToolError with git's own words.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._repo = git.Repo(folder, search_parent_directories=True)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError):
            raise ReleaseError(
                f"{folder} is in no git repository, so a release could not say which code it came from",
                remedy="git init && git add . && git commit",
            ) from None
        self.folder = Path(self._repo.working_dir)
        self.is_bare = bool(self._repo.bare)

    def close(self) -> None:
        """End the processes that GitPython keeps."""
        self._repo.close()

    def content(self, kind: str, sha: str) -> bytes:
        """The bytes of an object of a kind: a blob, or a tag."""
        try:
            printed = self._repo.git.cat_file(kind, sha, stdout_as_string=False, strip_newline_in_stdout=False)
        except git.GitCommandError as error:
            raise ToolError(f"git cat-file: {error.stderr}") from None
        return bytes(printed)

    def answer(self, command: str, *arguments: str) -> str | None:
        """What git prints, or None where it says no."""
        try:
            return self.run(command, *arguments)
        except ToolError:
            return None

    def lines(self, command: str, *arguments: str) -> Iterator[str]:
        """What git prints, line by line, while it is still at work."""
        process = getattr(self._repo.git, command.replace("-", "_"))(*arguments, as_process=True)
        for line in process.stdout:
            yield line.decode(errors="replace").rstrip("\n")
        try:
            process.wait()
        except git.GitCommandError as error:
            raise ToolError(f"git {command}: {error.stderr}") from None

    @contextmanager
    def _asking_nobody(self) -> Iterator[None]:
        """A server that wants a password is told no, rather than waited for; a way to call ssh that the
        user chose stays."""
        chosen = {"GIT_SSH_COMMAND", "GIT_SSH"} & os.environ.keys() or self.answer("config", "core.sshCommand")
        ssh = {} if chosen else {"GIT_SSH_COMMAND": _SSH}
        with self._repo.git.custom_environment(GIT_TERMINAL_PROMPT="0", **_HTTP_LIMITS, **ssh):
            yield

    def ask(self, seconds: float, command: str, *arguments: str) -> str:
        """What git prints of a remote. Raises ToolError when it fails, or is not done in so many seconds."""
        with self._asking_nobody():
            started = getattr(self._repo.git, command.replace("-", "_"))(*arguments, as_process=True)
        try:
            printed, said = started.proc.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            end_with_children(started.proc)
            raise ToolError(
                f"git {command}: the remote did not answer within {seconds:g} seconds",
                remedy="look after the network, or the remote's address (git remote --verbose)",
            ) from None
        if started.proc.returncode:
            raise ToolError(f"git {command}: {_what_is_said(said.decode(errors='replace'))}")
        return str(printed.decode(errors="replace").rstrip("\n"))

    def run(self, command: str, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        """What git prints."""
        try:
            printed = str(getattr(self._repo.git, command.replace("-", "_"))(*arguments, istream=stdin))
        except git.GitCommandError as error:
            said = str(error.stderr).strip().removeprefix("stderr: ").strip("'")
            raise ToolError(f"git {command}: {said}") from None
        # Bytes that are no UTF-8 come as lone surrogates, which cannot be printed.
        return printed.encode(errors="surrogateescape").decode(errors="replace")


def _what_is_said(printed: str) -> str:
    """What git prints of a remote that it cannot use, but for what it adds to each of them."""
    lines = [line.removeprefix("fatal: ").strip() for line in printed.splitlines()]
    told = [line for line in lines if line and not line.startswith(_SAID_OF_ALL)]
    return "\n".join(told or filter(None, lines))


def new_repository(folder: Path) -> Git:
    """An empty git repository in a folder that is not one yet."""
    git.Repo.init(folder, mkdir=True).close()
    return Git(folder)
