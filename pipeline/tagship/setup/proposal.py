"""What is proposed for a repository: every change, what has to be known for it, and what people have to do."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tagship.naming.fields import FieldValue
from tagship.policy.config import Config
from tagship.runs.places import RunPlaces
from tagship.setup.changes import KEEP, Change
from tagship.setup.facts import Facts
from tagship.setup.found_runs import FoundRun
from tagship.setup.ignored import IGNORE_FILE, ignore_change
from tagship.setup.install_line import install_line
from tagship.setup.overrides import override_change
from tagship.setup.policy_proposal import first_run, propose_policy
from tagship.setup.questions import Question
from tagship.setup.run_record import lacking_of, record_change
from tagship.setup.tasks_file import TASKS_FILE, is_ours, tasks_change
from tagship.setup.workflow_changes import extras_for, extras_to_gather, workflow_changes, workflow_values
from tagship.system.installation import Source
from tagship.system.templating import Templates


class Wishes(Struct, frozen=True, kw_only=True):
    """What was asked for: values by field, templates to replace, and where the running copy of tagship came from."""

    said: Mapping[str, FieldValue]
    templates: Sequence[str]
    source: Source | None


class Proposal(Struct, frozen=True, kw_only=True):
    """What would be done: changes, questions that are open, and notes for people. `run` is the run that is released
    first."""

    changes: tuple[Change, ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...]
    run: str | None

    @property
    def written(self) -> list[str]:
        """The paths that it writes."""
        return [change.path for change in self.changes if change.what != KEEP]


def propose(facts: Facts, wishes: Wishes) -> Proposal:
    """What to write. Raises UsageError for wishes that cannot be, ReleaseError for what cannot be read."""
    policy = propose_policy(facts, wishes.said)
    config = policy.config
    run = first_run(facts, config.runs)
    questions, notes = list(policy.questions), list(policy.notes)
    changes = [policy.change]
    if run:
        lacking = lacking_of(run, config, policy.learned, wishes.said)
        questions += lacking.questions
        changes += filter(None, [record_change(run, lacking.found, facts.root)])
    changes.append(ignore_change(config, facts.text_of(IGNORE_FILE)))
    present = facts.text_of(TASKS_FILE)
    tasks = tasks_change(present, is_package=facts.has("tasks/__init__.py"))
    program = "invoke" if is_ours(present, tasks) else "tagship"
    workflows, to_do = _workflows(facts, config, wishes.source, program=program)
    changes += [tasks, *workflows]
    templates = Templates(facts.root, _templates_of(config))
    changes += [override_change(name, facts, templates) for name in dict.fromkeys(wishes.templates)]
    return Proposal(
        changes=tuple(changes),
        questions=tuple(questions),
        notes=(*notes, *to_do, *_notes(facts, run, config.runs)),
        run=run.path.name if run else None,
    )


def _workflows(facts: Facts, config: Config, source: Source | None, *, program: str) -> tuple[list[Change], list[str]]:
    """The workflows, and what people have to do about them."""
    install = install_line(source, extras_for(config))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    gathering = install_line(source, extras_to_gather(config))
    values = workflow_values(
        config, install=install.line, install_to_gather=gathering.line, program=program, python=python
    )
    changes = list(workflow_changes(facts, values))
    writes = any(change.what != KEEP for change in changes)
    return changes, [install.to_do] if writes and install.to_do else []


def _templates_of(config: Config) -> dict[str, Path]:
    return {policy.name: folder for policy in config.formats if (folder := policy.format.templates)}


def _notes(facts: Facts, run: FoundRun | None, places: RunPlaces) -> Iterator[str]:
    if facts.git is None:
        yield "this folder is in no git repository: git init"
    if run is None:
        yield "there is no LoRA adapter here yet: save one with save_pretrained(…) below the folder of runs"
    elsewhere = [each for each in facts.runs if run and not places.has(each.path) and each.problem is None]
    if elsewhere:
        named = elsewhere[0].path.relative_to(facts.root).as_posix()
        yield f"{len(elsewhere)} more adapters are in other folders: --run {named} names one"
    passed_over = facts.git.ignored if facts.git else frozenset()
    for path in sorted({run.path} & passed_over if run else set()) + sorted(passed_over.intersection(facts.models)):
        name = path.relative_to(facts.root).as_posix()
        yield f"git passes over {name}, so that CI does not have it: release from here, or take it out of .gitignore"
    for each in facts.runs:
        if each.problem:
            yield f"{each.path.relative_to(facts.root).as_posix()} cannot be released: {each.problem}"
    if not facts.logged_in:
        yield "there is no token for the Hub on this machine: hf auth login, or HF_TOKEN"
