"""What a run held its base in while it was trained: 16 bits, or the 4 bits of QLoRA.

An adapter's own configuration does not say it. It is told by, in this order: what the run recorded in
experiment_metadata.json; the model card beside the adapter, into which PEFT and trainers write it; the policy; the
configuration of the model that the adapter names as its base, where that is on this disk; that model's name.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.naming.name_rules import HUB
from tagship.runs.base import BaseModel
from tagship.runs.base_at_hand import base_at_hand
from tagship.system.json_files import read_object
from tagship.weights.nf4_form import Nf4

TRAINED_IN = {"16bit": None, "nf4": Nf4(double=False), "nf4-double": Nf4(double=True)}
"""What `[bases."org/name"] trained_in` may be."""

_NF4 = "nf4"
_CARD = "README.md"
_KEYS = ("quant_method", "load_in_4bit", "load_in_8bit", "llm_int8_skip_modules", "bnb_4bit_")
# A line of a card: PEFT's list, or the YAML of a trainer's settings.
_LINE = re.compile(r"^ *(?:- )?(load_in_[48]bit|bnb_4bit_\w+|quant_method|llm_int8_skip_modules): *(.+)$", re.MULTILINE)
# What quantized forms of models are called, the more particular first.
_NAMES = (("bnb-4bit", _NF4), ("gptq", "gptq"), ("awq", "awq"))


class Quantized(Struct, frozen=True, kw_only=True):
    """How the base of a run was quantized: the `method`, as bitsandbytes and transformers call it, who says so, and for
    NF4 its form."""

    method: str
    said_by: str
    nf4: Nf4 | None = None

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        said: dict[str, Any] = {"trained_in": self.method, "said_by": self.said_by}
        if self.nf4:
            said |= {"double_quant": self.nf4.double, "skip_modules": self.nf4.skipped and list(self.nf4.skipped)}
        return said


def quantized_by(run: Path, recorded: Mapping[str, Any], named: str, base: BaseModel) -> Quantized | None:
    """How the base of a run in a folder was quantized, None where it was not; `recorded` is its metadata, `named` the
    model that its adapter names, and `base` what it is merged into. Raises ReleaseError for malformed JSON."""
    for said_by, config in _configurations(run, recorded):
        if config:
            return _read(config, said_by)
    if base.trained_in:
        form = TRAINED_IN[base.trained_in]
        return Quantized(method=_NF4, said_by="release.toml", nf4=form) if form else None
    if named == base.id:
        return None
    if config := _config_of(named):
        return _read(config.get("quantization_config") or {}, f"the config.json of {named}")
    method = next((method for part, method in _NAMES if part in named.lower()), None)
    if method is None:
        return None
    # The repositories of that name are quantized twice.
    return Quantized(method=method, said_by=f"the name {named}", nf4=Nf4(double=True) if method == _NF4 else None)


def _configurations(run: Path, recorded: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the run itself says, as far as it is about quantization."""
    yield "experiment_metadata.json", _in_record(recorded)
    card = run / _CARD
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        yield _CARD, {key: _value(value) for key, value in _LINE.findall(text)}


def _in_record(recorded: Mapping[str, Any]) -> Mapping[str, Any]:
    """A quantization_config, or its keys, in a record or in one of its groups."""
    for group in (recorded, *(value for value in recorded.values() if isinstance(value, Mapping))):
        config = group.get("quantization_config")
        if isinstance(config, Mapping):
            return config
        if found := {key: value for key, value in group.items() if key.startswith(_KEYS)}:
            return found
        if str(group.get("method")).lower() == "qlora":
            return {"load_in_4bit": True}
    return {}


def _config_of(named: str) -> Mapping[str, Any]:
    """The config.json of a model, a folder or an id, as far as it is on this disk."""
    if os.path.isdir(named):
        return read_object(Path(named) / "config.json")
    is_id = not any(map(HUB.problem, named.split("/")))
    return base_at_hand(BaseModel(id=named)).config if is_id else {}


def _read(config: Mapping[str, Any], said_by: str) -> Quantized | None:
    """A configuration as transformers has it. Where only that it is 4 bits is said, they are QLoRA's."""
    method = str(config.get("quant_method") or "bitsandbytes").rpartition(".")[2].lower().replace("_", "")
    if method != "bitsandbytes":
        return Quantized(method=method, said_by=said_by)
    if not config.get("load_in_4bit"):
        return Quantized(method="int8", said_by=said_by) if config.get("load_in_8bit") else None
    kind = config.get("bnb_4bit_quant_type")
    if kind not in (None, _NF4):
        return Quantized(method=str(kind), said_by=said_by)
    skipped = config.get("llm_int8_skip_modules")
    form = Nf4(
        double=bool(config.get("bnb_4bit_use_double_quant", kind is None)),
        skipped=tuple(map(str, skipped)) if isinstance(skipped, list) else None,
    )
    return Quantized(method=_NF4, said_by=said_by, nf4=form)


def _value(text: str) -> Any:
    """A value as Python or YAML writes it."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # as literal_eval says of itself
        return text
