"""The model card of a bill of materials: what the model is, what was measured of it, and what it is for.

https://cyclonedx.org/docs/1.6/json/#components_items_modelCard; figures are texts there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tagship.artifacts.manifest import Manifest
from tagship.policy.card import CardPolicy
from tagship.runs.base_folder import BaseFolder
from tagship.system.json_files import read_object
from tagship.verify.evidence import BASE, EXPORT, TRAINED, Measured

# What is measured of an export against base + adapter, by what a reader of figures calls it.
_MEASURES = (
    ("mean KL divergence from base + adapter, nats", "kl"),
    ("same likeliest token as base + adapter", "top1"),
    ("perplexity ratio to base + adapter", "perplexity_ratio"),
)
_SCORED = {BASE: "the base model", TRAINED: "base + adapter", EXPORT: "this export"}


def model_card(manifest: Manifest, base: BaseFolder, policy: CardPolicy, datasets: Sequence[str]) -> dict[str, Any]:
    """The card of what a manifest describes; `datasets` are references to components of the bill."""
    config = read_object(base.path / "config.json")
    parameters = {
        "task": base.pipeline_tag,
        "architectureFamily": config.get("model_type"),
        "modelArchitecture": next(iter(config.get("architectures") or []), None),
        "datasets": [{"ref": ref} for ref in datasets],
        "outputs": [{"format": "text"}],
    }
    considerations = {
        "useCases": [policy.intended_use] if policy.intended_use else [],
        "technicalLimitations": [policy.limitations] if policy.limitations else [],
    }
    return _said(
        {
            "modelParameters": _said(parameters),
            "quantitativeAnalysis": _said({"performanceMetrics": list(_metrics(manifest))}),
            "considerations": _said(considerations),
        }
    )


def _metrics(manifest: Manifest) -> Iterator[dict[str, str]]:
    for export in manifest.each():
        shown = export.shown()
        if shown is None:
            continue
        of = f", {export.quant}" if manifest.parts else ""
        for along, measured in (("answers", shown.answers), ("a text", shown.text)):
            if measured:
                yield from _measured(measured, f"along {along}{of}")
        for model, scores in (shown.evaluation or {}).items():
            yield from _scored(scores, f"{_SCORED.get(model, model)}{of}")


def _measured(measured: Measured, where: str) -> Iterator[dict[str, str]]:
    for name, key in _MEASURES:
        yield {"type": name, "value": f"{getattr(measured, key):g}", "slice": f"{where}, {measured.tokens} tokens"}


def _scored(scores: Mapping[str, Any], model: str) -> Iterator[dict[str, Any]]:
    mean, error = scores["mean"], scores.get("standard_error")
    interval = {"lowerBound": f"{mean - error:g}", "upperBound": f"{mean + error:g}"} if error is not None else None
    yield _said(
        {
            "type": "mean score, by one standard error",
            "value": f"{mean:g}",
            "slice": f"{scores['task']}, {len(scores['cases'])} cases, {model}",
            "confidenceInterval": interval,
        }
    )


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What there is something to say of."""
    return {key: value for key, value in values.items() if value not in (None, [], {}, "")}
