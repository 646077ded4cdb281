"""Which tensors of a base are transposed, so that what an adapter changes of them is, too."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from tagship.weights.changes import Change, LowRank, Magnitude
from tagship.weights.experts import ExpertsLowRank
from tagship.weights.safetensors import TensorEntry
from tagship.weights.tied_embeddings import is_head

# Models whose layers are Conv1D, which store their weights transposed (transformers, pytorch_utils.py).
CONV1D_MODELS = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
# Models whose experts are (experts, in, out) to PEFT (transformers, use_experts_implementation's is_transposed).
_TRANSPOSED_EXPERTS = ("gpt_oss", "openai_privacy_filter", "aria")


def oriented(
    changes: Mapping[str, tuple[Change, ...]], entries: Mapping[str, TensorEntry], model_type: str
) -> dict[str, tuple[Change, ...]]:
    """The changes, transposed where the base's tensor is.

    The adapter's `fan_in_fan_out` is one flag, and PEFT sets it by the last module it wrapped, so
    that it is no word on all of them. Where it or the architecture has Conv1D layers, a tensor's
    shape tells; a square one goes with the architecture, else with others of its name, else with the flag. Experts
    that are square go with others of their module, else with the architecture.
    """
    told: dict[str, bool] = {}

    def by_shape(entry: TensorEntry, low: LowRank | ExpertsLowRank) -> bool:
        may_be = isinstance(low, ExpertsLowRank) or low.transposed or model_type in CONV1D_MODELS
        return may_be and entry.shape == replace(low, transposed=True).shape

    for name, made in changes.items():
        entry, low = entries.get(name), _low_rank(made)
        if entry and low and not _is_square(entry):
            told[_leaf(name)] = by_shape(entry, low)
    turned = {}
    for name, made in changes.items():
        entry, low = entries.get(name), _low_rank(made)
        if entry is None or low is None:
            turned[name] = made
            continue
        if not _is_square(entry):
            transposed = by_shape(entry, low)
        elif isinstance(low, ExpertsLowRank):
            transposed = told.get(_leaf(name), model_type in _TRANSPOSED_EXPERTS)
        elif model_type in CONV1D_MODELS:
            transposed = not is_head(name)
        else:
            transposed = told.get(_leaf(name), low.transposed)
        turned[name] = tuple(
            replace(change, transposed=transposed)
            if isinstance(change, LowRank | ExpertsLowRank | Magnitude)
            else change
            for change in made
        )
    return turned


def _low_rank(made: Sequence[Change]) -> LowRank | ExpertsLowRank | None:
    return next(
        (
            change
            for change in made
            if isinstance(change, ExpertsLowRank) or (isinstance(change, LowRank) and not change.embedding)
        ),
        None,
    )


def _is_square(entry: TensorEntry) -> bool:
    return entry.shape[-1:] == entry.shape[-2:-1]


def _leaf(name: str) -> str:
    return name.rpartition(".")[0].rpartition(".")[2]
