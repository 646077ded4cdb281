"""What there is to say of an adapter by itself."""

from collections.abc import Iterator

from tagship.release.examination.facts import VllmFacts
from tagship.release.finding import OK, STOP, WARN, Finding, Problem
from tagship.release.gates import inert
from tagship.system.templating import human_size
from tagship.weights.adapter_facts import AdapterFacts, ModuleGroup

_MOST_NAMES = 4


def adapter_findings(adapter: AdapterFacts, layers: int | None) -> Iterator[Finding]:
    """What the adapter holds, what it changes, and whether that is anything; `layers` are the base's."""
    yield Finding(level=OK, what=f"adapter: {_kind(adapter)}; {_numbers(adapter)}")
    if adapter.groups:
        changed = "; ".join(_group(group, layers) for group in adapter.groups)
        yield Finding(level=OK, what=f"it changes {changed}; scale {_span(adapter.scales)}")
    if more := list(_beside(adapter)):
        yield Finding(level=OK, what=f"beside the low-rank changes it has {', '.join(more)}")
    yield from _effect(adapter)


def vllm_findings(vllm: VllmFacts) -> Iterator[Finding]:
    """Whether vLLM serves the adapter beside its base."""
    if vllm.refusals:
        yield Finding(
            level=WARN,
            what=f"vLLM does not serve it unmerged: {'; '.join(vllm.refusals)}",
            remedy="serve the merged model, the vllm export",
        )
    else:
        yield Finding(level=OK, what=f"vLLM serves it unmerged: {vllm.command}")


def _kind(adapter: AdapterFacts) -> str:
    named = "LoRA" if adapter.peft_type == "LORA" else adapter.peft_type
    with_variants = f" ({', '.join(adapter.variants)})" if adapter.variants else ""
    rank = f" of rank {_span(adapter.ranks)}" if adapter.ranks != (0, 0) else ""
    return f"{named}{with_variants}{rank}"


def _numbers(adapter: AdapterFacts) -> str:
    dtypes = " and ".join(adapter.dtypes)
    return f"{counted(adapter.numbers)} trained numbers in {dtypes}, {human_size(adapter.size)}"


def _group(group: ModuleGroup, layers: int | None) -> str:
    names = ", ".join(group.names)
    if not group.layers:
        return names
    first, last = group.layers[0], group.layers[-1]
    whole = f" of {layers}" if layers else ""
    where = "all" if layers and len(group.layers) == layers else f"{len(group.layers)}{whole}"
    run = len(group.layers) == last - first + 1
    which = "" if where == "all" else f" ({first} to {last})" if run else f" (between {first} and {last})"
    return f"{names} in {where} layers{which}" if where != "all" else f"{names} in all {layers} layers"


def _beside(adapter: AdapterFacts) -> Iterator[str]:
    if adapter.saved:
        yield f"whole trained parameters ({_listed(adapter.saved)})"
    if adapter.token_rows:
        yield f"{adapter.token_rows} trained token rows"
    if adapter.biases:
        yield f"{adapter.biases} trained biases"
    if adapter.lora_biases:
        yield f"{adapter.lora_biases} biases of lora_B"
    if adapter.target_parameters:
        yield f"parameters adapted by themselves ({_listed(adapter.target_parameters)})"


def _effect(adapter: AdapterFacts) -> Iterator[Finding]:
    if adapter.trained_nothing:
        problem = Problem.of(inert(adapter.trained_nothing, "it"))
        yield Finding(level=STOP, what=problem.what, remedy=problem.remedy)
    elif adapter.silent:
        yield Finding(
            level=WARN,
            what=f"{len(adapter.silent)} of {adapter.pairs} low-rank changes are all zero and change nothing: "
            f"{_listed(adapter.silent)}",
        )
    elif adapter.unread:
        yield Finding(
            level=WARN,
            what=f"{adapter.unread} of {adapter.pairs} low-rank changes begin with zeros, and were not read on",
        )


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _span(values: tuple[float, float]) -> str:
    least, most = values
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def counted(number: int) -> str:
    """A number of parameters as people say it."""
    for unit, size in (("billion", 10**9), ("million", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"
