"""An examination as programs read it (`--json`); findings stand beside it."""

from typing import Any

from msgspec import to_builtins

from tagship.release.examination.facts import BaseFacts, Cost, Examination
from tagship.release.finding import Problem


def document_of(found: Examination) -> dict[str, Any]:
    """The facts, with the same keys whatever could be told: what could not is null."""
    return {
        "run": found.run,
        "path": found.path,
        "adapter": _adapter(found),
        "base": _base(found.base) if found.base else None,
        "quantized": found.quantized.document() if found.quantized else None,
        "fit": to_builtins(found.fit) if found.fit else _refused(found.fit_problem),
        "costs": [_cost(cost) for cost in found.costs],
        "free": dict(found.free) if found.free else None,
        "vllm": {"serves": not found.vllm.refusals, **to_builtins(found.vllm)} if found.vllm else None,
        "llama_cpp": _llama_cpp(found),
        "license": to_builtins(found.license) if found.license else None,
        "revision": _revision(found.base) if found.base else None,
    }


def _adapter(found: Examination) -> dict[str, Any] | None:
    if found.adapter is None:
        return _refused(found.adapter_problem)
    return {**to_builtins(found.adapter), "does_nothing": found.adapter.does_nothing, "base_layers": found.layers}


def _base(base: BaseFacts) -> dict[str, Any]:
    described = base.described
    return {
        "id": base.model.id,
        "place": base.at_hand.place,
        "folder": str(base.at_hand.folder) if base.at_hand.folder else None,
        "files": list(base.files.names) if base.files else None,
        "files_here": list(base.at_hand.here),
        "to_fetch": base.to_fetch,
        "architecture": base.architecture,
        "trained_class": base.trained_class,
        "parameters": described.numbers if described else None,
        "size": described.nbytes if described else None,
        "dtypes": described.dtypes if described else None,
        "basis": described.basis if described else None,
        "guessed_tensors": len(described.guessed) if described else None,
        **(_refused(base.problem) or {}),
    }


def _cost(cost: Cost) -> dict[str, Any]:
    least, most = cost.seconds or (None, None)
    return {
        "format": cost.format,
        "quant": cost.quant,
        "disk": cost.disk,
        "memory": cost.memory,
        "verify_memory": cost.verify_memory,
        "seconds": {"least": least, "most": most, "cores": 2} if cost.seconds else None,
        **(_refused(cost.refused) or {}),
    }


def _llama_cpp(found: Examination) -> dict[str, Any] | None:
    facts = found.llama_cpp
    if facts is None:
        return None
    support = facts.support
    return {
        "architecture": facts.architecture,
        "knows": support.knows if support else None,
        "problem": support.problem if support else None,
        "needed": facts.needed,
    }


def _revision(base: BaseFacts) -> dict[str, Any]:
    hub = base.hub
    return {
        "recorded": base.model.revision,
        "hub": hub.endpoint,
        "commit": hub.commit,
        "main": hub.head,
        "commits_behind": hub.behind,
        "not_asked": hub.why_not,
    }


def _refused(problem: Problem | None) -> dict[str, Any] | None:
    return {"problem": problem.what, "remedy": problem.remedy} if problem else None
