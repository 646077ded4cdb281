"""Which repositories a list is asked for, and in what order: the query parameters of huggingface.co."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.datastructures import QueryParams

from tagship.hub_server.kinds import Kind
from tagship.hub_server.problem import HubProblem

Shape = Mapping[str, Any]
"""A model or dataset, as `model_json` has it."""

SORTS = ("createdAt", "downloads", "lastModified", "likes", "trendingScore")
# Of the applications that the Hub knows those that run GGUF files, and those that run safetensors.
_GGUF_APPS = ("llama.cpp", "lmstudio", "jan", "ollama", "koboldcpp", "node-llama-cpp")
_SAFETENSORS_APPS = ("vllm", "sglang", "tgi", "mlx-lm")
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?)", re.ASCII)
# What is no filter.
_OTHERS = {
    "cursor",
    "limit",
    "full",
    "config",
    "cardData",
    "expand",
    "expand[]",
    "sort",
    "direction",
    "author",
    "search",
}


def check_query(query: QueryParams, kind: Kind) -> None:
    """Raises HubProblem (400) for a parameter that nothing here knows: without it, other things would be listed."""
    known = _OTHERS | set(_FILTERS) if kind is Kind.MODEL else _OTHERS | {"filter", "gated"}
    for name in query:
        if name not in known:
            raise HubProblem(400, f"The embedded Hub does not know the parameter {name!r} of a list of {kind.plural}")
    sort = query.get("sort")
    if sort is not None and sort not in SORTS:
        raise HubProblem(400, f"sort must be one of {', '.join(SORTS)}, not {sort!r}")
    if query.get("direction", "-1") not in ("-1", "1"):
        raise HubProblem(400, "direction must be -1 or 1")


def needs_shapes(query: QueryParams) -> bool:
    """Whether it takes more than names to tell what is asked for, and in what order."""
    return "sort" in query or any(name in _FILTERS for name in query)


def filtered(shapes: Iterable[Shape], query: QueryParams) -> list[Shape]:
    """Those that all filters let through. Raises HubProblem (400)."""
    tests = [_FILTERS[name](query.getlist(name)) for name in dict.fromkeys(query) if name in _FILTERS]
    return [shape for shape in shapes if all(test(shape) for test in tests)]


def ordered(shapes: list[Shape], query: QueryParams) -> list[Shape]:
    """By the field that `sort` names, the largest first."""
    field = query.get("sort")
    if field is None:
        return shapes
    return sorted(shapes, key=lambda shape: (shape[field], shape["id"]), reverse=query.get("direction") != "1")


_Test = Callable[[Shape], bool]


def _tagged(values: list[str]) -> _Test:
    wanted = [part for value in values for part in value.split(",")]
    return lambda shape: all(_has_tag(shape, tag) for tag in wanted)


def _has_tag(shape: Shape, tag: str) -> bool:
    if tag == "co2_eq_emissions":
        return "co2_eq_emissions" in (shape["cardData"] or {})
    return tag in shape["tags"] or tag in (shape.get("pipeline_tag"), (shape.get("config") or {}).get("model_type"))


def _pipeline(values: list[str]) -> _Test:
    return lambda shape: shape.get("pipeline_tag") in values


def _gated(values: list[str]) -> _Test:
    if values[-1].lower() not in ("true", "false"):
        raise HubProblem(400, f"gated must be true or false, not {values[-1]!r}")
    return lambda shape: bool(shape["gated"]) == (values[-1].lower() == "true")


def _apps(values: list[str]) -> _Test:
    wanted = [part for value in values for part in value.split(",")]
    for app in wanted:
        if app not in _GGUF_APPS + _SAFETENSORS_APPS:
            raise HubProblem(400, f"apps must be of {', '.join(_GGUF_APPS + _SAFETENSORS_APPS)}, not {app!r}")
    return lambda shape: all(("gguf" if app in _GGUF_APPS else "safetensors") in shape["tags"] for app in wanted)


def _parameters(values: list[str]) -> _Test:
    bounds = {"min": 0.0, "max": float("inf")}
    for part in values[-1].split(","):
        name, _, amount = part.partition(":")
        match = _AMOUNT.fullmatch(amount.upper())
        if name not in bounds or match is None:
            raise HubProblem(400, f"num_parameters must be as min:6B,max:128B, not {values[-1]!r}")
        bounds[name] = float(match[1]) * _UNITS[match[2]]
    return lambda shape: bounds["min"] <= _count(shape) <= bounds["max"]


def _count(shape: Shape) -> float:
    """How many parameters it has; not a number if nobody knows, which is never within bounds."""
    found = shape.get("safetensors") or shape.get("gguf") or {}
    return float(found.get("total", "nan"))


def _no_inference(values: list[str]) -> _Test:
    raise HubProblem(400, "The embedded Hub runs no models: there is no list by inference")


_FILTERS: Mapping[str, Callable[[list[str]], _Test]] = {
    "apps": _apps,
    "filter": _tagged,
    "gated": _gated,
    "inference": _no_inference,
    "inference_provider": _no_inference,
    "num_parameters": _parameters,
    "pipeline_tag": _pipeline,
}
