"""From the facts of an examination to what people read: findings, in a fixed order."""

from collections.abc import Iterator

from tagship.release.examination.adapter_findings import adapter_findings, vllm_findings
from tagship.release.examination.base_findings import (
    base_findings,
    fit_findings,
    license_findings,
    llama_cpp_findings,
    revision_findings,
)
from tagship.release.examination.facts import Cost, Examination
from tagship.release.finding import OK, STOP, WARN, Finding, Problem
from tagship.runs.quantized import Quantized
from tagship.system.templating import human_size, human_time
from tagship.weights.partial import LAYERS, TOTAL

_BASIS = {
    LAYERS: "what is not here was told by config.json and the same tensors of other layers; the sum is the index's own",
    TOTAL: "an estimate: of tensors that are not here only the sum is known, by the index; their shapes are guessed",
}


def findings_of(found: Examination) -> list[Finding]:
    """What there is to say of a run: `stop` for what a release would refuse."""
    return list(_findings(found))


def _findings(found: Examination) -> Iterator[Finding]:
    if found.adapter_problem:
        yield found.adapter_problem.finding()
        return
    if found.adapter:
        yield from adapter_findings(found.adapter, found.layers)
    for problem in (found.task_problem, found.naming_problem, found.base_problem, found.numbers_problem):
        if problem:
            yield problem.finding()
    if found.quantized:
        yield _trained_on(found.quantized)
    if found.base:
        yield from base_findings(found.base)
        yield from fit_findings(found)
        yield from _cost_findings(found)
    if found.vllm:
        yield from vllm_findings(found.vllm)
    if found.llama_cpp:
        yield from llama_cpp_findings(found.llama_cpp)
    if found.license and found.base:
        yield from license_findings(found.license, found.base)
        yield from revision_findings(found.base)


def _trained_on(quantized: Quantized) -> Finding:
    if quantized.nf4:
        how = "NF4 with double quantization" if quantized.nf4.double else "NF4"
        return Finding(level=OK, what=f"base: trained on in {how} ({quantized.said_by}), with which a release compares")
    return Finding(
        level=WARN,
        what=f"base: quantized by {quantized.method} while it was trained on ({quantized.said_by}), which no release "
        "compares with",
        remedy="measure it at a task of your own, [evaluate] in release.toml",
    )


def _cost_findings(found: Examination) -> Iterator[Finding]:
    base = found.base
    if base is None or base.described is None:
        yield Finding(
            level=WARN,
            what="costs: not known, as neither this disk nor the Hub tells how large the base is",
            remedy="fetch config.json and model.safetensors.index.json of it, or run this again with network",
        )
        return
    for cost in found.costs:
        if not cost.refused:
            yield Finding(level=OK, what=f"cost of {cost.name}: {_cost(cost)}")
    if base.described.basis in _BASIS:
        level = WARN if base.described.basis == TOTAL else OK
        yield Finding(level=level, what=f"costs: {_BASIS[base.described.basis]}")
    yield from _refusals(found)
    if found.free and found.costs:
        yield from _room(found)


def _refusals(found: Examination) -> Iterator[Finding]:
    """What formats refuse, once, with all that refuse it. What was held against guessed shapes is only a warning."""
    guessed = bool(found.base and found.base.described and found.base.described.guessed)
    refused: dict[Problem, list[str]] = {}
    for cost in found.costs:
        if cost.refused:
            refused.setdefault(cost.refused, []).append(cost.name)
    for problem, names in refused.items():
        if guessed:
            yield problem.finding(WARN, f"{', '.join(names)}: by shapes that are guessed, ")
        else:
            yield problem.finding(STOP, f"{', '.join(names)}: ")
    if found.fit_problem and found.fit_problem not in refused:
        yield found.fit_problem.finding(WARN)


def _room(found: Examination) -> Iterator[Finding]:
    assert found.free is not None and found.base is not None
    disk = sum(cost.disk or 0 for cost in found.costs)
    free = f"{human_size(found.free['memory'])} of memory and {human_size(found.free['disk'])} on the disk are free"
    if found.room_problems:
        yield from (problem.finding() for problem in found.room_problems)
    else:
        yield Finding(level=OK, what=f"room for all of it, {human_size(disk)} and as much for archives: {free}")
    described = found.base.described
    if described and described.nbytes > found.free["memory"]:
        yield Finding(
            level=WARN,
            what=f"the base has {human_size(described.nbytes)}, more than the memory that is free: comparing reads it "
            "from the disk again in each pass, of which there are up to ten",
            remedy="compare on a machine with more memory or a fast disk, or with --quick",
        )


def _cost(cost: Cost) -> str:
    assert cost.disk is not None and cost.memory is not None
    verify = f", {human_size(cost.verify_memory)} to compare answers" if cost.verify_memory else ""
    return f"{human_size(cost.disk)} on disk, {human_size(cost.memory)} of memory{verify}; {_time(cost)}"


def _time(cost: Cost) -> str:
    if cost.seconds is None:
        return "its time was not measured"
    return f"{human_time(*cost.seconds)}, as measured on two cores"
