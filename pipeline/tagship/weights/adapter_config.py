"""adapter_config.json: what a PEFT adapter says of itself, and what of it cannot be merged."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.git_lfs import refuse_pointer
from tagship.system.json_files import parse_object

T = TypeVar("T")

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

# Initialisations that change the base weights, so that the adapter does not fit the original base;
# PEFT can convert all but the last.
_CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
_CONVERT = "save it with save_pretrained(…, path_initial_model_for_weight_conversion=…) to make it plain LoRA"
_LEAVES_BASE = ("", "none", "true", "false", "gaussian", "eva", "orthogonal", "mica")
# What PEFT can add to plain LoRA, by its key in the configuration.
_VARIANTS = {
    "layer_replication": "repeated layers",
    "alora_invocation_tokens": "activated LoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "kasa_config": "KaSA",
    "arrow_config": "Arrow routing",
}
# PEFT, get_pattern_key: a pattern matches a whole module path or its end.
_AT_THE_END = r"(.*\.)?({})"
# Names and their ends, which most patterns are, take no time.
_PLAIN = re.compile(r"[\w.]*")
# Seconds for all patterns and modules; one of each takes microseconds.
_PATIENCE = 20
# Says which pattern it is at, so that one that never ends is known.
_TRY = """
import json, re, sys
patterns, modules = json.load(sys.stdin)
for pattern in patterns:
    print(json.dumps(pattern), flush=True)
    for module in modules:
        re.fullmatch(pattern, module)
"""


class AdapterConfig(Struct, frozen=True, kw_only=True):
    """What adapter_config.json says, as far as a release needs it.

    `target_pattern` is what modules match where they are no list; `token_indices` are the rows that were
    trained, by the name (or its end) of an embedding;
    `keeps_tied` is whether a change of tied embeddings was trained for both of them; `task` is what PEFT calls it
    (`CAUSAL_LM`, `SEQ_CLS`, …), `trained_class` the class in transformers where it noted that instead.
    """

    base_model: str
    revision: str | None
    rank: int
    alpha: float
    rank_stabilised: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    transposed: bool
    dora: bool
    target_modules: tuple[str, ...]
    target_pattern: str | None
    target_parameters: tuple[str, ...]
    token_indices: Mapping[str, tuple[int, ...]]
    keeps_tied: bool
    task: str | None
    trained_class: str | None
    unsupported: tuple[str, ...]

    @property
    def adapted(self) -> tuple[str, ...]:
        """What was adapted, in the configuration's own words: modules, a pattern of them, parameters."""
        pattern = (self.target_pattern,) if self.target_pattern else ()
        return (*self.target_modules, *pattern, *self.target_parameters)

    def parameters_of(self, module: str) -> tuple[str, ...]:
        """The parameters of a module that were adapted each by itself, in the order in which PEFT wraps them: that
        of transformers' classes, whose experts have the way in before the way out. None for a module that was
        adapted as a whole (PEFT, check_target_module_exists)."""
        if any(_at_the_end(target, module) for target in self.target_modules):
            return ()
        if self.target_pattern and re.fullmatch(self.target_pattern, module):
            return ()
        targets = [target.rpartition(".")[::2] for target in self.target_parameters]
        named = [name for owner, name in targets if owner and _at_the_end(owner, module)]
        of_any = [name for owner, name in targets if not owner]
        return tuple(sorted(set(named or of_any), key=lambda name: (name.startswith("down"), name)))

    def rank_of(self, module: str) -> int:
        """The rank of a module's A and B."""
        return int(_by_pattern(self.rank_pattern, module, self.rank))

    def check_patterns(self, modules: Sequence[str]) -> None:
        """Raise ReleaseError for a pattern that goes on trying one of these modules for ever.

        `re` cannot be stopped, so they are tried in a process of their own; by `re`, as PEFT does: other libraries give
        up on other patterns.
        """
        own = [pattern for pattern in (*self.rank_pattern, *self.alpha_pattern) if not _PLAIN.fullmatch(pattern)]
        patterns = [*map(_AT_THE_END.format, own), *([self.target_pattern] if self.target_pattern else [])]
        if not patterns:
            return
        command = [sys.executable, "-I", "-S", "-c", _TRY]
        asked = json.dumps([patterns, modules])
        try:
            subprocess.run(command, input=asked.encode(), stdout=subprocess.PIPE, timeout=_PATIENCE, check=True)
        except subprocess.TimeoutExpired as expired:
            tried = (expired.stdout or b"").decode().splitlines()
            endless = json.loads(tried[-1]) if tried else patterns[0]
            raise ReleaseError(
                f"the pattern {endless} in {CONFIG_FILE} does not come to an end within {_PATIENCE} seconds",
                remedy="name the modules there without repetitions inside of repetitions, such as (a+)+",
            ) from None

    @property
    def largest_rank(self) -> int:
        """The highest rank of any module: what a server must make room for."""
        return max([self.rank, *self.rank_pattern.values()])

    def scale_of(self, module: str) -> float:
        """The factor of `B @ A` for a module (PEFT, LoraLayer.update_layer)."""
        rank = self.rank_of(module)
        alpha = _by_pattern(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read adapter_config.json. Raises ReleaseError when it is missing or malformed."""
    path = folder / CONFIG_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _without_adapter(folder) from None
    refuse_pointer(path, content)
    document = parse_object(content, str(path))
    return parse_adapter_config(document, path)


def parse_adapter_config(document: Any, where: Path | str) -> AdapterConfig:
    """What such a document says; `where` names it in messages. Raises ReleaseError when it is malformed."""
    try:
        return _config(document)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError, re.error) as error:
        raise _malformed(where, error) from None


def _malformed(where: Path | str, error: Exception) -> ReleaseError:
    return ReleaseError(f"{where} is not a PEFT adapter's configuration: {error!r}")


def _without_adapter(folder: Path) -> ReleaseError:
    below = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob(f"*/{CONFIG_FILE}"))
    if not below:
        return ReleaseError(
            f"{folder} has no {CONFIG_FILE}, so it is no finished training run",
            remedy="finish the training, save the adapter there with save_pretrained(…), or choose another --run",
        )
    return ReleaseError(
        f"{folder} has no {CONFIG_FILE} itself, but adapters in folders below it: {', '.join(below)}",
        remedy=f"choose one of them, such as --run {folder / below[-1]}, or move it up",
    )


def _config(document: dict[str, Any]) -> AdapterConfig:
    targets = document.get("target_modules")
    lora = document.get("peft_type", "LORA") == "LORA"  # other methods need have neither rank nor alpha
    return AdapterConfig(
        base_model=_text(document.get("base_model_name_or_path")) or "",
        revision=_text(document.get("revision")),
        rank=_rank(document["r"]) if lora or document.get("r") else 0,
        alpha=_number(document["lora_alpha"]) if lora or document.get("lora_alpha") else 0.0,
        rank_stabilised=bool(document.get("use_rslora")),
        rank_pattern=_patterns(document.get("rank_pattern"), _rank),
        alpha_pattern=_patterns(document.get("alpha_pattern"), _number),
        transposed=bool(document.get("fan_in_fan_out")),
        dora=bool(document.get("use_dora")),
        target_modules=() if isinstance(targets, str) else _names(targets),
        target_pattern=re.compile(targets).pattern if isinstance(targets, str) else None,
        target_parameters=_names(document.get("target_parameters")),
        token_indices=_token_indices(document.get("trainable_token_indices")),
        keeps_tied=bool(document.get("ensure_weight_tying")),
        task=_text(document.get("task_type")) or None,
        trained_class=_text((document.get("auto_mapping") or {}).get("base_model_class")),
        unsupported=tuple(_unsupported(document)),
    )


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value or ()):
        raise TypeError(f"{value!r} is no list of names")
    return tuple(sorted(value or ()))


def _at_the_end(target: str, module: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _token_indices(value: Any) -> dict[str, tuple[int, ...]]:
    # A list is of the input embedding, whatever its name: PEFT, LoraConfig.trainable_token_indices.
    by_name = value if isinstance(value, dict) else {"": value} if value else {}
    for index in (index for indices in by_name.values() for index in indices):
        if type(index) is not int or index < 0:
            raise ValueError(f"{index!r} is no token")
    return {name: tuple(indices) for name, indices in by_name.items()}


def _rank(value: Any) -> int:
    rank = int(value)
    if rank < 1 or rank != value:
        raise ValueError(f"{value!r} is no rank")
    return rank


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def _patterns(value: Any, number: Callable[[Any], T]) -> dict[str, T]:
    patterns = dict(value or {})
    for pattern in patterns:
        re.compile(_AT_THE_END.format(pattern))
    return {pattern: number(given) for pattern, given in patterns.items()}


def _unsupported(document: dict[str, Any]) -> list[str]:
    problems = []
    if document.get("peft_type") != "LORA":
        problems.append(f"it is {document.get('peft_type')}, not LORA")
    initialised = str(document.get("init_lora_weights") or "").lower()
    if initialised.startswith(_CHANGES_BASE[:-1]):
        problems.append(f"it was initialised by {initialised}, which changes the base weights: {_CONVERT}")
    elif initialised.startswith(_CHANGES_BASE[-1]):
        problems.append(f"it was initialised by {initialised}, which changes the base weights")
    elif initialised not in _LEAVES_BASE:
        problems.append(f"it was initialised by {initialised}, which may have changed the base weights")
    for key, meaning in _VARIANTS.items():
        if document.get(key):
            problems.append(f"{key} ({meaning}) is not merged yet")
    return problems


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    for pattern, value in patterns.items():
        if re.fullmatch(_AT_THE_END.format(pattern), module):
            return value
    return default
