"""Adapters that were trained on a base in 4 bits: what they are merged into, and what difference that makes."""

from collections.abc import Iterator

from tagship.formats.protocol import NF4
from tagship.release.plan import Plan
from tagship.release.step import Tools
from tagship.release.trained import base_alone, reference_model, trained_in_nf4
from tagship.runs.base_folder import BaseFolder, vocabulary_rows
from tagship.runs.run import Run
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.verify.comparison import Trial
from tagship.verify.evidence import FourBit
from tagship.verify.influence import mean_kl, sequences_known

_MERGE = '[export] base = "nf4" in release.toml merges into what the 4 bits dequantize to'


def check_quantized(plan: Plan, base: BaseFolder, tools: Tools) -> None:
    """Say of each run what its base was held in while it was trained, where that is not 16 bits.

    Raises ReleaseError where the policy merges into NF4 what was not trained on it, or what is not simulated in it.
    """
    merges = plan.config.export.base == NF4
    for run in {target.run.path: target.run for target in plan.targets}.values():
        if merges:
            _check_nf4(run, base)
        for sentence in _said(run, base, merges=merges):
            if run.nf4:
                tools.console.note(sentence)
            else:
                tools.console.warn(sentence, "measure it at a task of your own, [evaluate] in release.toml")


def compare_bases(plan: Plan, base: BaseFolder, tools: Tools, trial: Trial) -> FourBit | None:
    """How far base + adapter is from what was trained, where that was on 4 bits and is merged into 16; None else. What
    outweighs the adapter is warned of."""
    if plan.run.nf4 is None or plan.config.export.base == NF4 or _stores_transposed(base):
        return None
    sequences = sequences_known(trial, vocabulary_rows(base.path))
    reference = reference_model(plan, base, tools)
    with tools.console.working("the base in 4 bits answers"):
        with base_alone(plan, base, tools) as alone:
            adapter_kl = mean_kl(reference, alone, sequences)
        with trained_in_nf4(plan, base, tools) as trained:
            bases_kl = mean_kl(trained, reference, sequences)
    found = FourBit(
        tokens=sum(len(sequence.looked_at) for sequence in sequences), bases_kl=bases_kl, adapter_kl=adapter_kl
    )
    sentence = (
        f"the adapter was trained on {base.id} in 4 bits; its 16-bit weights make a difference of {bases_kl:.2g} nats "
        f"(mean KL over {found.tokens} tokens), the adapter one of {adapter_kl:.2g}"
    )
    if found.outweighs:
        tools.console.warn(f"{sentence}: the base outweighs what the adapter does", _MERGE)
    else:
        tools.console.note(sentence)
    return found


def _said(run: Run, base: BaseFolder, *, merges: bool) -> Iterator[str]:
    if run.nf4:
        double = " with double quantization" if run.nf4.double else ""
        into = "what that dequantizes to" if merges else "its 16-bit weights"
        if not merges and _stores_transposed(base):
            into += ", which are not compared: weights that are stored transposed are not simulated in NF4"
        assert run.quantized is not None
        yield f"{run.name} was trained on {base.id} in NF4{double} ({run.quantized.said_by}), and is merged into {into}"
    elif run.quantized:
        yield (
            f"{run.name} was trained on {base.id} quantized by {run.quantized.method} ({run.quantized.said_by}), and "
            "is merged into its 16-bit weights: what difference that makes is not known"
        )


def _check_nf4(run: Run, base: BaseFolder) -> None:
    if run.nf4 is None:
        said = f"{run.quantized.said_by} says {run.quantized.method}" if run.quantized else "nothing says so"
        raise ReleaseError(
            f'[export] base is "nf4", but the run {run.name} was not trained on a base in NF4: {said}',
            remedy=f'if it was, record its quantization_config in experiment_metadata.json, or add [bases."{base.id}"] '
            'trained_in = "nf4" ("nf4-double" with double quantization)',
        )
    if _stores_transposed(base):
        raise ReleaseError(
            f"{base.id} stores its weights transposed, which is not simulated in NF4",
            remedy="leave [export] base out: the adapter is then merged into the 16-bit weights",
        )


def _stores_transposed(base: BaseFolder) -> bool:
    from tagship.weights.orientation import CONV1D_MODELS

    return read_object(base.path / "config.json").get("model_type") in CONV1D_MODELS
