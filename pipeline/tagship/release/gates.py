"""Gates: read-only checks that come before the first byte is written, and refuse."""

from collections.abc import Iterable, Iterator, Sequence

from tagship.artifacts.card import check_card
from tagship.formats.protocol import Format
from tagship.formats.registry import find_format
from tagship.history.tag_checks import Outcome, Tagging, refuse, run_checks
from tagship.hub.fetch import Located, code_of_base
from tagship.naming.tag_hints import probably_meant, why_no_stream
from tagship.policy.verify import QUICK
from tagship.release.jobs import job_of
from tagship.release.plan import Plan
from tagship.release.results import Fitting
from tagship.release.room import by_file_where_full, check_disk, check_download, check_memory
from tagship.release.step import Step, verifies, written_by
from tagship.release.targets import Target
from tagship.runs.base import BaseModel
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import model_files
from tagship.runs.numbers import check_numbers
from tagship.runs.run import Run
from tagship.system.called import called
from tagship.system.disk import check_writable
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository
from tagship.system.modules import not_installed
from tagship.system.secrets import check_no_secrets
from tagship.system.templating import Templates
from tagship.verify.runtimes.protocol import Runtime
from tagship.verify.runtimes.registry import find_runtime, reference_runtime
from tagship.weights.adapter_facts import adapter_facts
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import modules_of, read_weights


def check_formats(targets: Iterable[Target], templates: Templates) -> None:
    """Raise ReleaseError when something that a format has to bring is missing or wrong: its card, its runtime."""
    for form in _formats(targets):
        find_runtime(form.runtime)
        check_card(form, templates)


# What PEFT calls the tasks of models that do not write text, and the ends of transformers' names for classes that do.
_OTHER_TASKS = {
    "SEQ_CLS": "sequence classification or rewards",
    "TOKEN_CLS": "token classification",
    "QUESTION_ANS": "extracting answers",
    "FEATURE_EXTRACTION": "embeddings",
    "SEQ_2_SEQ_LM": "an encoder-decoder",
}
_WRITES_TEXT = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForImageTextToText")


def check_tasks(targets: Iterable[Target]) -> None:
    """Raise ReleaseError for a run whose model does not write text: as one that does, it would answer garbage."""
    for run in {target.run.path: target.run for target in targets}.values():
        check_task(run)


def check_task(run: Run) -> None:
    """Raise ReleaseError for a run whose model does not write text."""
    trained = run.adapter.trained_class
    what = _OTHER_TASKS.get(run.adapter.task or "")
    if what is None and trained and not trained.endswith(_WRITES_TEXT):
        what = f"the class {trained}"
    if what:
        task = f" ({run.adapter.task})" if run.adapter.task else ""
        raise ReleaseError(
            f"the run {run.name} was trained for {what}{task}, and only models that write text are released",
            remedy="publish it by PEFT: AutoPeftModel….from_pretrained(…), merge_and_unload(), push_to_hub(…)",
        )


def check_adapters(targets: Iterable[Target]) -> None:
    """Raise ReleaseError for an adapter that changes nothing: its model would be the base under another name. Some MB
    of it are read at most; what those do not show, the base's own answers do (verify/influence.py)."""
    for run in {target.run.path: target.run for target in targets}.values():
        weights = read_weights(run.path)
        run.adapter.check_patterns(modules_of(weights))
        if why := adapter_facts(run.path, run.adapter, weights).trained_nothing:
            raise inert(why, f"the adapter of {run.name}")


def inert(why: str, what: str) -> ReleaseError:
    """What is said of an adapter, called `what`, that changes nothing."""
    return ReleaseError(
        f"{what} trained nothing: {why}, so that the model is the base itself",
        remedy="look whether the training ran (learning rate, frozen parameters), and save the adapter after it",
    )


def check_text(plan: Plan) -> None:
    """Raise ReleaseError where exports are made from the very text that they are measured by, as an importance matrix
    may be: they would look better than they are."""
    text = plan.config.verify.text
    made_from = {path for target in plan.targets for path in target.policy.format.inputs(target.policy.settings)}
    if text and any(path.exists() and text.exists() and path.samefile(text) for path in made_from):
        raise ReleaseError(
            f"exports are made from {text.name}, which [verify] text measures them by, so that they would look better "
            "than they are",
            remedy="name another text as [export] imatrix_text, or leave it out for the one that ships",
        )


def check_modules(targets: Iterable[Target], *, verifies: bool, native: bool = False) -> None:
    """Raise ReleaseError when an optional dependency that the release needs is not installed; `native` is whether it
    has to ask exports in the runtimes that people run them by."""
    forms = _formats(targets)
    names = [name for form in forms for name in form.runtimes(native=False)]
    runtimes = [reference_runtime(), *map(find_runtime, names)] if verifies else []
    missing = _missing([*runtimes, *forms])
    if missing:
        raise ReleaseError(
            f"not installed: {', '.join(missing)}, which exporting and verifying need",
            remedy="; ".join(dict.fromkeys(filter(None, missing.values()))) or None,
        )
    wanted = _missing([find_runtime(form.native) for form in forms if form.native]) if verifies and native else {}
    if wanted:
        installs = "; ".join(dict.fromkeys(filter(None, wanted.values())))
        raise ReleaseError(
            f"not installed: {', '.join(wanted)}, in which [verify] native asks exports",
            remedy=f"{installs}; or leave native out of [verify], and they are asked only where it is installed",
        )


def _missing(needs: Iterable[Format | Runtime]) -> dict[str, str | None]:
    """The modules that are not installed, and how each would be."""
    return {module: each.install for each in needs for module in not_installed(each.modules)}


def _formats(targets: Iterable[Target]) -> list[Format]:
    return [find_format(name) for name in dict.fromkeys(target.policy.name for target in targets)]


def check_tag(plan: Plan, repository: Repository) -> list[Outcome]:
    """Raise ReleaseError when the tag is not what is checked out, triggers nothing, or does not pass a
    required check. Returns what else the checks found, to be warned of."""
    if plan.tag is None or plan.version_tag is None:
        return []
    name = plan.tag.name
    streams = plan.config.streams
    if plan.stream is None:
        meant = probably_meant(name, streams)
        raise ReleaseError(
            f"the tag {name} is of no stream, so it triggers nothing: {why_no_stream(name, streams)}",
            remedy=f"git tag {meant}, if that was meant" if meant else f"tag it as {streams[0].tag_of('1.0.0')}",
        )
    if plan.tag.commit.sha != plan.commit.sha:
        raise ReleaseError(
            f"the tag {name} is on {plan.tag.commit.sha[:10]}, and {plan.commit.sha[:10]} is checked out",
            remedy=f"git checkout {name}",
        )
    tagging = Tagging(
        config=plan.config,
        repository=repository,
        version_tag=plan.version_tag,
        commit=plan.commit,
        tag=plan.tag,
    )
    outcomes = list(run_checks(tagging))
    refuse(outcomes, name)
    return [outcome for outcome in outcomes if outcome.problem]


def warnings(plan: Plan, repository: Repository) -> Iterator[tuple[str, str]]:
    """What is published all the same and cannot be mended afterwards, each with what would mend it now."""
    if plan.version_tag and plan.extent == QUICK:
        yield (
            f"--quick compares less than is usual, which {plan.version_tag.name} will say wherever it is looked at",
            "leave --quick out for a version that people are to use: once published it says that for good",
        )
    changed = () if plan.version_tag else repository.uncommitted(plan.config.policy_paths)
    if changed:
        yield (
            f"release.json will name {plan.commit.sha[:10]}, which does not have {', '.join(changed)} as it is here: "
            f"{called()} reproduce could not make this release again",
            "commit it first",
        )


def check_base(located: Located) -> None:
    """Raise ReleaseError for a base model that wants to run code of its own, or for which there is no room."""
    check_code(located.base, code_of_base(located))
    check_download(located.size)


def check_code(base: BaseModel, needed: Sequence[str]) -> None:
    """Raise ReleaseError for a base model that needs classes of its own code, where the policy does not say that it may
    run."""
    if needed and not base.trust_remote_code:
        raise ReleaseError(
            f"the base model {base.id} wants to run code of its own, as transformers does not know it: "
            f"{', '.join(needed)}",
            remedy=f'if you trust it, add to release.toml: [bases."{base.id}"] trust_remote_code = true; the '
            "base's Python then runs on this machine with the rights of the release, and is published with the model",
        )


def check_fit(
    plan: Plan, base: BaseFolder, templates: Templates, steps: Sequence[Step], *, sends: bool = False
) -> list[Fitting]:
    """Raise ReleaseError when an adapter does not fit the base, when either says what no model is, or when the machine
    has no room for what the steps of a task do. Returns what each export takes: where a task `sends` its exports ahead
    of the commit, one file of an export that there is no room for as a whole."""
    for run in {target.run.path for target in plan.targets}:
        files = model_files(base, run)
        check_no_secrets(files.sources)
        check_numbers(files, open_checkpoint(base.path).entries())
    jobs = [(target, job_of(plan, target, base, templates)) for target in plan.targets]
    fits = [Fitting(target=target, footprint=target.policy.format.footprint(job)) for target, job in jobs]
    if sends:
        fits = by_file_where_full(plan, fits, written_by(steps, plan), base)
    footprints = [(fitting.target, fitting.footprint) for fitting in fits]
    check_disk(plan, footprints, written_by(steps, plan), base)
    check_memory(footprints, base.path if verifies(steps) else None, native=bool(plan.config.verify.native))
    return fits


def check_folders(plan: Plan) -> None:
    """Raise ReleaseError for a folder of the release, or what it will be made in, that cannot be written to."""
    parents = (folder.parent for target in plan.targets for folder in (target.export_dir, target.artifact))
    check_writable(dict.fromkeys((*parents, plan.config.state)))
