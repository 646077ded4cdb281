"""Asks exports in the runtime that people run them by, where that is another one than evidence is of.

Evidence is of the numbers that an export holds, computed in 32 bits from its files, on any machine. That the program
which serves them loads the same files, and finds the same, is shown where it is installed: nothing needs it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from msgspec.structs import replace

from tagship.policy.verify import QUICK
from tagship.release.finding import OK, Finding
from tagship.release.jobs import job_of
from tagship.release.plan import Plan
from tagship.release.results import Answered, Exported, Fetched, Results, Sent
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.release.trained import reference_model
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.machine import available_memory
from tagship.system.modules import are_installed
from tagship.system.templating import human_size
from tagship.verify.comparison import compare
from tagship.verify.evidence import Native
from tagship.verify.questions import Limits
from tagship.verify.runtimes.protocol import Runtime, Subject
from tagship.verify.runtimes.registry import find_runtime

# What computing in 16 bits may cost beside what an export's own numbers do: nats of mean KL, and the share of tokens
# where the likeliest one is another.
_KL, _TOP1 = 0.05, 0.1
_OTHERWISE = (
    "nothing was published; computed in 32 bits its numbers are right, so look whether another version of {} answers "
    "as they do, or leave it out with [verify] native = false"
)
_UNABLE = "leave [verify] native out of release.toml, and it is asked only where it can run an export"


class NativeError(ReleaseError):
    """What the runtime that people run an export by has against it, whose numbers are right."""


class NotAskable(NativeError, ToolError):
    """That runtime cannot run it here. `why` is what can be published of that: no path, and no figure of a machine."""

    def __init__(self, message: str, *, why: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy or _UNABLE)
        self.why = why


def ask_natively(plan: Plan, target: Target, done: Results, tools: Tools, limits: Limits) -> Native | None:
    """Hold an export in its native runtime against base + adapter, along the same answers; None where it has none that
    is wanted or installed. Raises NativeError when it answers otherwise, and, where the policy asks for it, when it
    cannot be asked."""
    native, wanted = target.policy.format.native, plan.config.verify.native
    if native is None or not _is_asked(plan, native):
        return None
    runtime = find_runtime(native)
    try:
        if not are_installed(runtime.modules):
            raise NotAskable(
                f"not asked in {native}, which is not installed, and [verify] native asks for it",
                why=f"{native} was not installed",
                remedy=f"{runtime.install}, or {_UNABLE}",
            )
        return _asked(plan, target, done, tools, limits, runtime)
    except NotAskable as error:
        if wanted:
            told = f"the {target.name} export: {error}"
            raise NotAskable(told, why=error.why, remedy=error.remedy) from error
        tools.console.note(f"{target.name}: {error}")
        return Native(runtime=_named(runtime), why=error.why)


def _is_asked(plan: Plan, native: str) -> bool:
    wanted = plan.config.verify.native
    if wanted is False or (plan.extent == QUICK and not wanted):
        return False
    return bool(wanted) or are_installed(find_runtime(native).modules)


def predicted_natively(plan: Plan) -> str | None:
    """What comparing takes besides, as nobody knows how long other programs take; None where none is asked."""
    asked = Counter(target.policy.format.native for target in plan.targets)
    told = [
        f"{count} export{'s' * (count > 1)} in {native}"
        for native, count in asked.items()
        if native and _is_asked(plan, native)
    ]
    return f"asking {' and '.join(told)}, which starts for each, comes to that" if told else None


def native_findings(plan: Plan) -> Iterator[Finding]:
    """In which programs that people run exports by a release would ask them here, and in which not."""
    formats: dict[str, list[str]] = defaultdict(list)
    for form in dict.fromkeys(target.policy.format for target in plan.targets):
        if form.native:
            formats[form.native].append(form.name)
    for native, names in formats.items():
        runtime, exports = find_runtime(native), f"exports of {' and '.join(names)} are"
        if plan.config.verify.native is False:
            yield Finding(level=OK, what=f"{exports} not asked in {native}, as [verify] native says")
        elif are_installed(runtime.modules):
            yield Finding(level=OK, what=f"{exports} asked in {_named(runtime)}, too")
        else:
            yield Finding(level=OK, what=f"{exports} compared in 32 bits alone, as {native} is not installed here")


def natively(limits: Limits) -> Limits:
    """How far an export may be in a runtime that computes in 16 bits, where it may be so far in 32."""
    top1 = 1.0 if limits.same_tokens else limits.top1
    return replace(limits, kl=round(limits.kl + _KL, 6), top1=round(max(0.0, top1 - _TOP1), 6), same_tokens=False)


def check_free(runtime: Runtime, subject: Subject, free: int) -> None:
    """Raise NotAskable where a runtime takes more memory for a model than so many bytes, which are free."""
    if (needed := runtime.memory_for(subject.model)) > free:
        raise NotAskable(
            f"not asked in {runtime.name}, which takes {human_size(needed)} of memory, of which {human_size(free)} is "
            "available",
            why=f"{runtime.name} takes more memory for it than there was",
        )


def _asked(plan: Plan, target: Target, done: Results, tools: Tools, limits: Limits, runtime: Runtime) -> Native:
    if done.find(Sent, target):
        raise NotAskable(
            f"not asked in {runtime.name}, as its files are on the Hub alone", why="only the Hub had its files"
        )
    base, exported = done.one(Fetched).base, done.for_target(Exported, target)
    trial = replace(done.one(Answered).trial, text=())
    job = job_of(plan, target, base, tools.templates, exported.manifest)
    subject = target.policy.format.subject(job, exported.folder, trial.questions)
    reference = reference_model(plan, base, tools)
    check_free(runtime, subject, available_memory())
    try:
        with (
            tools.console.working(f"{target.name} answers in {runtime.name}"),
            tools.runtimes.model(runtime.name, subject) as model,
        ):
            try:
                what = f"the {target.name} export in {_named(runtime)}"
                found = compare(reference, model, trial, natively(limits), what)
            finally:  # it has the whole model in memory
                tools.runtimes.end(runtime.name)
    except ToolError as error:
        if not tools.runtimes.has(reference):
            raise
        first, *others = str(error).rstrip().split("\n")
        told = f"{first} {others[-1].strip()}" if others else first
        why = f"{runtime.name} could not run it on that machine"
        raise NotAskable(told, why=why, remedy=error.remedy) from error
    except ReleaseError as error:
        raise NativeError(str(error), remedy=_OTHERWISE.format(runtime.name)) from error
    named = ", ".join(filter(None, (_named(runtime), model.how)))
    return Native(runtime=named, same=found.same, answers=found.answers, limits=found.limits)


def _named(runtime: Runtime) -> str:
    return f"{runtime.name} ({runtime.version})"
