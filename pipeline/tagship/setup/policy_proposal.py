"""The policy that is proposed for a repository, or the one that it has."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.naming.fields import FieldValue
from tagship.policy.config import Config, load_config
from tagship.policy.file import policy_file
from tagship.runs.places import RunPlaces
from tagship.setup.changes import Change, keep, write
from tagship.setup.facts import Facts, check_file
from tagship.setup.found_bases import FoundBase, find_base
from tagship.setup.found_runs import FoundRun, places_of_runs
from tagship.setup.policy_text import (
    POLICY_FILE,
    PolicyValues,
    first_sound,
    free_folders,
    naming_candidates,
    short_name_of,
    with_base,
)
from tagship.setup.questions import BASE, LICENSE, NAMESPACE, Question
from tagship.setup.run_names import Learned, Named, learn

# Stands for a namespace that nobody has told yet, in what is shown.
_UNTOLD = "NAMESPACE"


class ProposedPolicy(Struct, frozen=True, kw_only=True):
    """A policy that is there or proposed, with the questions that it leaves."""

    config: Config
    change: Change
    learned: Learned | None = None
    questions: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()


def propose_policy(facts: Facts, said: Mapping[str, FieldValue]) -> ProposedPolicy:
    """The policy of a repository. Raises UsageError for one that is there and has mistakes."""
    present = policy_file(facts.root)
    if facts.has(present.name):
        check_file(present, present.name)
        why = "it is there" if present.name == POLICY_FILE else "its [tool.tagship] is the policy"
        return ProposedPolicy(config=load_config(present), change=keep(present.name, why))
    places = places_of_runs(facts.runs, facts.root)
    run = first_run(facts, places) if places else None
    learned = _learn(facts, run, places) if run and places else None
    values, questions, notes = _values(facts, places, said), list[Question](), list[str]()
    if values.namespace == _UNTOLD:
        questions.append(NAMESPACE)
    whole_alpha = True
    if run and run.adapter:
        whole_alpha = float(run.adapter.alpha).is_integer()
        base = find_base(run.adapter.base_model, facts.root, facts.models)
        values, open_questions, of_base = _with_base(values, base, said, facts.root)
        values = replace(values, base_short_name=short_name_of(values.base_id or base.reference, learned))
        questions += open_questions
        notes += of_base
    candidates = list(naming_candidates(values, learned, whole_alpha=whole_alpha))
    text, config = first_sound(candidates, facts.root)
    return ProposedPolicy(
        config=config,
        change=write(POLICY_FILE, text, "the policy: names, formats, the Hub"),
        learned=learned,
        questions=tuple(questions),
        notes=tuple(notes),
    )


def _values(facts: Facts, places: RunPlaces | None, said: Mapping[str, FieldValue]) -> PolicyValues:
    """What is known before the runs are looked into, which are at `places`."""
    namespace, owner = said.get("namespace"), facts.owner
    exports, artifacts = free_folders(facts)
    return PolicyValues(
        namespace=str(namespace or owner or _UNTOLD),
        namespace_from="" if namespace or not owner else "the remote of this repository",
        runs=_written(places, facts.root) if places else "adapters",
        runs_comment="" if places else "each training run is a folder in it, with its adapter (save_pretrained)",
        exports=exports,
        artifacts=artifacts,
        changelog=facts.changelog if facts.changelog not in (None, "CHANGELOG.md") else "",
        remote=facts.git.remote_name if facts.git and facts.git.remote_name != "origin" else "",
    )


def _with_base(
    values: PolicyValues, base: FoundBase, said: Mapping[str, FieldValue], root: Path
) -> tuple[PolicyValues, list[Question], list[str]]:
    """The values with what is known of the base model, what is not, and what people should know."""
    told = str(said.get("base") or base.id or "")
    if base.path is None and not told:
        return values, [BASE], [f"the run records the base model {base.reference!r}, which is no folder here"]
    base = replace(base, id=base.id or told or None)
    license_ = str(said.get("license") or "")
    lacks_license = base.path is not None and not (license_ or base.license)
    notes = []
    if base.elsewhere and base.path:
        stands = f"{base.path.name}, the only model here, stands for it"
        notes.append(f"the run records the base model {base.reference!r}: {stands}")
    values = replace(values, base_id=told or f"{values.namespace}/{base.suggested_name}")
    return with_base(values, base, license_, root), [LICENSE] if lacks_license else [], notes


def _written(places: RunPlaces, root: Path) -> str:
    """Places as release.toml names them: a folder, or a pattern."""
    named = places.root if places.parts == ("*",) else Path(str(places))
    return named.relative_to(root).as_posix()


def first_run(facts: Facts, places: RunPlaces) -> FoundRun | None:
    """The run at some places that a release takes."""
    return next((run for run in facts.runs if places.has(run.path) and run.problem is None), None)


def _learn(facts: Facts, first: FoundRun, places: RunPlaces) -> Learned | None:
    others = [run for run in facts.runs if places.has(run.path) and run is not first and run.adapter]
    return learn([_named(run) for run in (first, *others)], names_itself=not first.is_checkpoint)


def _named(run: FoundRun) -> Named:
    assert run.adapter is not None
    fields = {"rank": run.adapter.rank, **run.fields}
    if float(run.adapter.alpha).is_integer():
        fields["alpha"] = int(run.adapter.alpha)
    return Named(name=run.telling_name, fields=fields, base=run.adapter.base_model)
