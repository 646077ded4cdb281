"""The runner: order, skipping, timing, and the end of a run that fails."""

import pickle
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import pytest
from msgspec import Struct, field
from msgspec.structs import replace
from tagship.hub.connection import open_hub
from tagship.policy.config import EMBEDDED, load_config
from tagship.release.export_checks import ExportChecks
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.results import Results
from tagship.release.runner import Finished, run_steps
from tagship.release.step import Step, Tools, Work, WorkDone, do
from tagship.release.steps import RELEASE
from tagship.release.targets import Target
from tagship.system.console import Console
from tagship.system.errors import Killed, ReleaseError, ToolError, UsageError
from tagship.system.git import Repository
from tagship.system.scratch_folders import ScratchFolders
from tagship.system.templating import Templates
from tagship.verify.runtimes.processes import Runtimes

from tests.conftest import GitFolder

TARGETS = ["vllm", "ollama q4_k_m", "lora"]


class Made(Struct, frozen=True, dict=True):
    """What a step returned."""

    step: str
    target: Target | None = None


class Bench(Struct, frozen=True, dict=True):
    """A plan of three targets, the effects that steps are given, and what was called."""

    plan: Plan
    tools: Tools
    calls: list[str] = field(default_factory=list)

    def run(self, *steps: Step) -> Finished:
        return run_steps(steps, self.plan, self.tools)

    def whole(self, name: str) -> Step:
        """A step for the whole plan, which must be given this plan and these tools."""

        def once(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
            assert (plan, tools) == (self.plan, self.tools)
            self.calls.append(name)
            yield Made(name)

        return Step(name=name, title=f"The {name}", once=once)

    def each(self, name: str) -> Step:
        """A step for every target, which must be given this plan and these tools."""

        def one(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
            assert (plan, tools) == (self.plan, self.tools)
            self.calls.append(f"{name} {target.name}")
            yield Made(name, target)

        return Step(name=name, title=f"The {name}", each=one)


@pytest.fixture
def bench(project: GitFolder, capsys: pytest.CaptureFixture[str]) -> Iterator[Bench]:
    config = load_config(project.folder / "release.toml", {})
    with (
        Repository(config.root) as repository,
        open_hub(EMBEDDED, "acme", project.folder / "hub") as hub,  # starts when it is asked, and nobody asks
        Runtimes() as runtimes,
    ):
        tools = Tools(
            repository=repository,
            hub=hub,
            runtimes=runtimes,
            console=Console(interactive=False),
            templates=Templates(config.root),
            scratch=ScratchFolders("beside"),
            checks=ExportChecks(Console(interactive=False)),
        )
        yield Bench(make_plan(config, Options(), repository, datetime(2025, 9, 15, tzinfo=UTC)), tools)


def test_steps_run_in_order(bench: Bench) -> None:
    """Steps run in the order of the list, each one's targets in the order of the plan."""
    bench.run(bench.whole("a"), bench.each("b"), bench.whole("c"))
    assert bench.calls == ["a", *(f"b {name}" for name in TARGETS), "c"]


def test_results_are_collected_in_order(bench: Bench) -> None:
    """What steps return is in the results, in order, for the plan and for each target."""
    results = bench.run(bench.whole("a"), bench.each("b")).results
    assert results.of(Made) == (Made("a"), *(Made("b", target) for target in bench.plan.targets))


def test_steps_see_what_came_before(bench: Bench) -> None:
    """A step is given all that was returned before it, also for earlier targets of the same step."""
    seen: list[int] = []

    def one(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
        seen.append(len(done.of(Made)))
        yield Made("b", target)

    bench.run(bench.whole("a"), Step(name="b", title="B", each=one), bench.whole("c"))
    assert seen == [1, 2, 3]


def test_step_for_the_plan_and_for_each_target(bench: Bench) -> None:
    """A step may have both: first for the plan, then for every target."""
    both = replace(bench.whole("a"), each=bench.each("a").each)
    bench.run(both)
    assert bench.calls == ["a", *(f"a {name}" for name in TARGETS)]


def test_skipped_with_a_reason(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A step with a reason to skip is not run; the reason is told and kept, and the next step runs."""
    skipped = replace(bench.whole("b"), skip=lambda plan: f"no need for {len(plan.targets)}")
    finished = bench.run(bench.whole("a"), skipped, bench.whole("c"))
    assert bench.calls == ["a", "c"]
    assert finished.skipped == {"b": "no need for 3"}
    assert finished.seconds.keys() == {"a", "c"}
    assert capsys.readouterr().err.splitlines() == ["The a", "The b  skipped: no need for 3", "The c"]


def test_seconds(bench: Bench) -> None:
    """Time is taken for every step, and for every target of it."""

    def slow(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
        time.sleep(0.05 if target.name == "lora" else 0)
        return iter(())

    finished = bench.run(bench.whole("a"), Step(name="slow", title="Slow", each=slow), bench.each("c"))
    assert finished.seconds.keys() == {"a", "slow", "c"}
    taken = {target.name: finished.target_seconds[target.export_dir] for target in bench.plan.targets}
    assert {name: set(seconds) for name, seconds in taken.items()} == {name: {"slow", "c"} for name in TARGETS}
    assert taken["lora"]["slow"] >= 0.05
    assert taken["vllm"]["slow"] < finished.seconds["slow"]
    assert finished.seconds["slow"] >= sum(seconds["slow"] for seconds in finished.target_seconds.values()) - 0.01


def test_time_that_targets_share_is_counted_once(bench: Bench) -> None:
    """Of exports that are made together each has a share: what all have is what it took."""
    first = bench.plan.targets[0]
    second = replace(first, export_dir=first.export_dir.with_name("second"))

    def slow(plan: Plan, targets: Sequence[Target], done: Results, tools: Tools) -> Iterator[object]:
        time.sleep(0.1)
        return iter(())

    step = Step(name="slow", title="Slow", together=slow)
    finished = run_steps((step,), replace(bench.plan, targets=(first, second)), bench.tools)
    one, other = (finished.target_seconds[target.export_dir]["slow"] for target in (first, second))
    assert one == other and 0.1 <= one + other <= finished.seconds["slow"] + 0.01


@pytest.mark.parametrize("error", [ReleaseError, KeyboardInterrupt, ZeroDivisionError])
def test_failure_ends_the_run(bench: Bench, error: type[BaseException]) -> None:
    """What a step raises goes out as it is, and neither its later targets nor any later step are run."""

    def fails(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
        bench.calls.append(f"b {target.name}")
        yield Made("b", target)
        if target.name == "ollama q4_k_m":
            raise error("no")

    with pytest.raises(error):
        bench.run(bench.whole("a"), Step(name="b", title="B", each=fails), bench.whole("c"))
    assert bench.calls == ["a", "b vllm", "b ollama q4_k_m"]


class Backwards:
    """An executor that has all pieces of work before it does the last one first."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def run(self, works: Iterable[Work], tools: Tools) -> Iterator[WorkDone]:
        every = list(works)
        self.steps += [work.step.name for work in every]
        done = [do(work, tools) for work in reversed(every)]
        return reversed(done)


def test_executor(bench: Bench) -> None:
    """Work of portable steps is the executor's, in whatever order, and results are in the order of the plan; that of
    other steps, and what is done once, is done here."""
    executor = Backwards()
    portable = replace(bench.each("b"), portable=True)
    steps = (bench.whole("a"), portable, bench.each("c"))
    finished = run_steps(steps, bench.plan, bench.tools, executor)
    assert executor.steps == ["b"] * 3
    assert bench.calls == ["a", *(f"b {name}" for name in reversed(TARGETS)), *(f"c {name}" for name in TARGETS)]
    assert finished.results.of(Made)[1:4] == tuple(Made("b", target) for target in bench.plan.targets)


def test_work_can_be_handed_to_another_process(bench: Bench) -> None:
    """A plan, its targets and the portable steps of a release survive being pickled."""
    portable = [step for step in RELEASE if step.portable]
    assert [step.name for step in portable] == ["export", "verify", "package"]
    for step in portable:
        work = Work(step=step, plan=bench.plan, targets=bench.plan.targets, done=Results([Made("a")]))
        again = pickle.loads(pickle.dumps(work))
        assert (again.step, again.plan, again.targets) == (work.step, work.plan, work.targets)
        assert again.done.of(Made) == (Made("a"),)


def test_no_steps(bench: Bench) -> None:
    """A run without steps makes nothing."""
    finished = bench.run()
    assert finished.results.of(object) == ()
    assert (finished.seconds, finished.target_seconds, finished.skipped) == ({}, {}, {})


@pytest.mark.parametrize(
    ("kinds", "raised", "calls"),
    [
        ({"vllm": ReleaseError}, ReleaseError, 3),
        ({"vllm": ReleaseError, "lora": ReleaseError}, ReleaseError, 3),
        ({"vllm": ReleaseError, "ollama q4_k_m": Killed}, Killed, 2),
        ({"vllm": ToolError, "lora": ReleaseError}, ReleaseError, 3),
        ({"vllm": ToolError, "lora": ToolError}, ToolError, 3),
        ({"ollama q4_k_m": UsageError}, UsageError, 2),
    ],
)
def test_all_that_is_refused_is_told(
    bench: Bench, kinds: dict[str, type[ReleaseError]], raised: type[ReleaseError], calls: int
) -> None:
    """A step that goes on looks at all targets where one is refused, but where memory was full or the policy is wrong;
    nothing comes after it."""

    cause = OSError("the real one")

    def one(plan: Plan, target: Target, done: Results, tools: Tools) -> Iterator[object]:
        bench.calls.append(target.name)
        if target.name in kinds:
            remedy = f"nothing was made; mend {target.name}; do it again"
            raise kinds[target.name](f"{target.name} is wrong", remedy=remedy) from cause
        yield Made("look", target)

    look = Step(name="look", title="Look", each=one, goes_on=True)
    with pytest.raises(ReleaseError) as caught:
        bench.run(look, bench.whole("after"))
    assert type(caught.value) is raised and bench.calls == TARGETS[:calls]
    told = [f"{name} is wrong" for name in kinds]
    several = f"{len(kinds)} exports are refused:\n- " + "\n- ".join(told)
    assert str(caught.value) == (several if len(kinds) > 1 else told[0])
    assert caught.value.remedy == "; ".join(["nothing was made", *(f"mend {name}" for name in kinds), "do it again"])
    assert len(kinds) > 1 or caught.value.__cause__ is cause
