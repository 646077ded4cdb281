"""What can go wrong, in three kinds, each with its exit code.

A message says what is wrong and where; `remedy` says what to do about it. Anything
else that is raised is a bug in tagship and keeps its traceback.
"""


class ReleaseError(Exception):
    """The release failed or a gate refused: exit code 1.

    `remedy` is one sentence or command that mends it.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class UsageError(ReleaseError):
    """A mistake in the options or in release.toml: exit code 2."""

    exit_code = 2


class NothingToDo(Exception):
    """What was asked for is to do nothing, which is no failure; the message says why: exit code 0. `document` is what
    `--json` prints."""

    def __init__(self, message: str, document: dict[str, object]) -> None:
        super().__init__(message)
        self.document = document


class ToolError(ReleaseError):
    """A foreign tool or service failed; the message carries its own words: exit code 1."""


class Killed(ToolError):
    """A process that worked for this one was ended from outside, by a full memory perhaps: the files that it had
    finished are as good as those of an interrupted release."""
