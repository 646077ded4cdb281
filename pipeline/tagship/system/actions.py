"""GitHub Actions' side of a run: workflow commands on its log, files for outputs and the summary. Forgejo and Gitea
have the same.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

from tagship.system.secrets import tokens_in

Environment = Callable[[str], str | None]

OUTPUT, SUMMARY = "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"
END_OF_GROUP = "::endgroup::"


def in_actions(environment: Environment = os.environ.get) -> bool:
    """Whether this process is a step of a workflow."""
    return environment("GITHUB_ACTIONS") == "true"


def command(name: str, message: str = "", **properties: str | int) -> str:
    """A line that the runner carries out rather than shows: `::error file=release.toml,line=3::…`."""
    said = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{name}{' ' + said if said else ''}::{_message(message)}"


def masks(environment: Mapping[str, str]) -> Iterator[str]:
    """The commands that keep the tokens of an environment out of the log. The runner knows those of `secrets`, not
    those that a step before this one got by itself."""
    lines = {line.strip() for token in tokens_in(environment) for line in token.splitlines()}
    yield from (command("add-mask", line) for line in sorted(filter(None, lines)))


def write_outputs(outputs: Mapping[str, str], environment: Environment = os.environ.get) -> None:
    """Give outputs to the steps and jobs after this one; a value may have any number of lines."""
    entries = []
    for name, value in outputs.items():
        end = f"end_{uuid4().hex}"  # nobody who has a say in the value can know it
        entries.append(f"{name}<<{end}\n{value}\n{end}\n")
    _append(environment(OUTPUT), "".join(entries))


def write_summary(markdown: str, environment: Environment = os.environ.get) -> None:
    """Add to the page of the run."""
    _append(environment(SUMMARY), markdown)


def _append(file: str | None, text: str) -> None:
    if file:
        with Path(file).open("a", encoding="utf-8", newline="\n") as opened:
            opened.write(text)


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
