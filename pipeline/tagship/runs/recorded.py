"""Of what a trainer recorded, that which may be published: training's own words, and no others.

Trainers record what they are given: paths of somebody's machine, its name and user, keys of tracking services. What is
published is chosen by what it is, not by what it is not.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tagship.system.secrets import SECRET_VALUE

# The names that trainers give to what they measured; not how long it took, nor on how many examples.
METRIC = re.compile(
    r"(^|_)(loss|accuracy|exact_match|perplexity|f1|precision|recall|bleu|rouge[0-9l]*|score|wer|mmlu)$"
)
# What holds numbers that were measured, whatever their names.
METRICS = ("metrics", "evaluation")
_FACTS = frozenset(
    {
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "alpha",
        "batch_size",
        "bf16",
        "dataset",
        "dataset_examples",
        "dataset_rows",
        "dropout",
        "dtype",
        "epochs",
        "eval_batch_size",
        "eval_examples",
        "examples",
        "fp16",
        "global_step",
        "gradient_accumulation_steps",
        "learning_rate",
        "lora_alpha",
        "lora_dropout",
        "lora_r",
        "lr",
        "lr_scheduler",
        "lr_scheduler_type",
        "max_grad_norm",
        "max_length",
        "max_seq_length",
        "max_steps",
        "method",
        "num_train_epochs",
        "optim",
        "optimizer",
        "packing",
        "per_device_eval_batch_size",
        "per_device_train_batch_size",
        "precision",
        "r",
        "rank",
        "scheduler",
        "seed",
        "sequence_length",
        "steps",
        "target_modules",
        "tokens",
        "train_batch_size",
        "train_examples",
        "train_tokens",
        "trained",
        "warmup_ratio",
        "warmup_steps",
        "weight_decay",
    }
)
# What is a fact only inside of these.
_INSIDE: Mapping[str, Collection[str]] = {
    "dataset": ("config", "examples", "license", "name", "revision", "rows", "split", "splits", "subset", "version")
}
_VERSIONS = "versions"
_VERSION = re.compile(r"v?\d[\w.+-]*")
_PATH = re.compile(r"(?:[/~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\|file:)", re.IGNORECASE)
# Addresses, paths of more than an owner and a name, and keys of services that are only digits and letters.
_PLACE = re.compile(r"://|\S@\S|\w\\\w|\w/[\w.-]+/|\b[0-9a-f]{32,}\b")
_LONGEST = 200


def publishable(recorded: Mapping[str, Any], own: Collection[str] = ()) -> dict[str, Any]:
    """What of a run's record goes into cards and manifests: facts and measurements of the training, versions of
    libraries, and the fields of the policy's `own`. Groups stay, without what is not in them."""
    return dict(_chosen(recorded, own, inside=""))


def _chosen(recorded: Mapping[str, Any], own: Collection[str], inside: str) -> Iterator[tuple[str, Any]]:
    for key, value in recorded.items():
        if isinstance(value, Mapping):
            if group := dict(_chosen(value, own, inside=key.lower())):
                yield key, group
        elif _is_fact(key, value, inside) or (not inside and key in own and _is_harmless(value)):
            yield key, value


def _is_fact(key: str, value: Any, inside: str) -> bool:
    name = key.lower()
    if inside == _VERSIONS:
        return re.fullmatch(r"[\w.-]{1,40}", key) is not None and bool(_VERSION.fullmatch(str(value)))
    if inside in METRICS or METRIC.search(name):
        return isinstance(value, int | float)
    return (name in _FACTS or name in _INSIDE.get(inside, ())) and _is_harmless(value)


def _is_harmless(value: Any) -> bool:
    """Whether a value is no path, no secret, and no text of a length that nobody would put into a table."""
    if isinstance(value, list):
        return all(map(_is_harmless, value))
    if isinstance(value, str):
        return not (_PATH.match(value) or _PLACE.search(value) or SECRET_VALUE.search(value) or len(value) > _LONGEST)
    return value is None or not isinstance(value, Mapping)
