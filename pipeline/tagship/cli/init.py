"""The verb `init`: another repository set up for releases; a plan first, and with --yes its changes."""

import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tagship.setup.changes import ADD, WRITE, Change, apply
from tagship.setup.facts import Facts, look
from tagship.setup.policy_text import POLICY_FILE
from tagship.setup.proposal import Proposal, Wishes, propose
from tagship.setup.questions import ask_all, options_for, read_said, said_by
from tagship.system.console import Console
from tagship.system.errors import UsageError
from tagship.system.installation import installed_from


def init(console: Console, given: Sequence[str], templates: Sequence[str], *, yes: bool, asks: bool) -> dict[str, Any]:
    """Set up the folder that this is called in. `given` are FIELD=VALUE pairs; `asks` is whether a person is there to
    answer. Raises UsageError where something has to be known, and nobody is there."""
    facts = look(Path.cwd())
    wishes = Wishes(said=read_said(given), templates=templates, source=installed_from())
    proposal = propose(facts, wishes)
    if proposal.questions and asks:
        console.step("Nobody recorded this")
        answers = ask_all(proposal.questions, _ask)
        wishes = replace(wishes, said={**wishes.said, **answers})
        proposal = propose(facts, wishes)
        given = [*given, *said_by(answers)]
    _show(console, facts, proposal)
    if proposal.questions:
        listed = "; ".join(f"{question.field} ({question.meaning})" for question in proposal.questions)
        if yes:
            raise UsageError(f"nobody recorded {listed}", remedy=_words(given, templates, proposal))
        console.warn(f"nobody recorded {listed}", f"give it by {options_for(proposal.questions)}")
    written = apply(facts.root, proposal.changes) if yes else []
    following = list(_next(facts, proposal, _words(given, templates, proposal), yes=yes))
    console.step("Next" if yes or not proposal.written else "Nothing is written yet")
    for line in following:
        console.line(line)
    return {
        "applied": yes,
        "changes": [
            {"what": change.what, "path": change.path, "why": change.why, "text": change.text}
            for change in proposal.changes
        ],
        "written": written,
        "missing": [question.field for question in proposal.questions],
        "notes": list(proposal.notes),
        "next": following,
    }


def asks_people(*, as_json: bool) -> bool:
    """Whether a person is there to answer."""
    return sys.stdin.isatty() and not as_json


def _ask(text: str) -> str:
    print(f"  {text}", end="", file=sys.stderr, flush=True)
    if not (line := sys.stdin.readline()):
        raise UsageError("nobody answers", remedy="give what is asked for by --set FIELD=VALUE")
    return line


def _show(console: Console, facts: Facts, proposal: Proposal) -> None:
    console.step("Setting up", str(facts.root))
    for line in _found(facts, proposal):
        console.note(line)
    for change in proposal.changes:
        console.note(f"{change.what} {change.path}: {change.why}")
    policy = next((change for change in proposal.changes if change.path == POLICY_FILE and change.what == WRITE), None)
    if policy:
        console.step(POLICY_FILE)
        _show_text(console, policy)
    for change in proposal.changes:
        if change.what == ADD or change.path.endswith(".json"):
            console.step(f"{change.path}, lines that are added" if change.what == ADD else change.path)
            _show_text(console, change)
    for note in proposal.notes:
        console.warn(note, None)


def _show_text(console: Console, change: Change) -> None:
    for line in change.text.strip("\n").splitlines():
        console.note(line)


def _found(facts: Facts, proposal: Proposal) -> Iterator[str]:
    if proposal.run:
        yield f"run {proposal.run}" + (f", one of {len(facts.runs)} adapters" if len(facts.runs) > 1 else "")
    if facts.git and facts.git.page:
        yield f"remote {facts.git.page}"
    if facts.logged_in:
        yield "a token for the Hub is on this machine"


def _words(given: Sequence[str], templates: Sequence[str], proposal: Proposal) -> str:
    """The options of the same command, with what is open."""
    options = [f"--set {shlex.quote(pair)}" for pair in given] + [f"--template {name}" for name in templates]
    return " ".join(filter(None, ["tagship init --yes", *options, options_for(proposal.questions)]))


def _next(facts: Facts, proposal: Proposal, again: str, *, yes: bool) -> Iterator[str]:
    """The next three commands; `again` is the one that writes what is shown."""
    if not proposal.written:
        yield "tagship doctor"
    elif not yes:
        yield again
    elif facts.git is None:
        yield 'git init && git add . && git commit -m "feat: the first model"'
    elif not facts.git.has_commit:
        yield 'git add . && git commit -m "feat: the first model"'
    else:
        written = (path for path in proposal.written if not _is_passed_over(facts.root / path, facts.git.ignored))
        yield f'git add {shlex.join(written)} && git commit -m "ci: release models by tagship"'
    yield "tagship plan"
    yield "tagship release --hub embedded"


def _is_passed_over(path: Path, ignored: Collection[Path]) -> bool:
    """Whether git ignores a path, of which it is known of some folders."""
    return any(path.is_relative_to(folder) for folder in ignored)
