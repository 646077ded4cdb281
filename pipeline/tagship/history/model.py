"""What a release's model was, and what changed in it since: base, tokenizer, template, adapter, weights.

It is read from the run's files in git where both releases have them there. Where runs are not in
git, the manifest of the last release tells what it was made of.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from tagship.history.conventional import Part
from tagship.runs.base import BaseModel
from tagship.runs.base_folder import TOKENIZER_FILES, VOCABULARIES
from tagship.runs.folder import Folder, object_in
from tagship.runs.recorded import publishable
from tagship.runs.run import METADATA_FILE
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE

_TOKENIZER_CONFIG, _TEMPLATE_FILE = "tokenizer_config.json", "chat_template.jinja"
# What of adapter_config.json is the adapter's shape, where it says more than PEFT's default: each
# version of PEFT writes keys that the one before it did not have. The scale is not: like weights,
# it only changes what the model answers.
_ARCHITECTURE = (
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "target_parameters",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
    "trainable_token_indices",
    "bias",
    "lora_bias",
    "use_dora",
    "use_rslora",
    "fan_in_fan_out",
    "task_type",
)


class ModelState(Struct, frozen=True, kw_only=True):
    """What a model was made of; digests say how they were made, `git:` or `sha256:`.

    `recorded` is what the trainer recorded of the run, as far as it may be published.
    """

    run: str
    base_model: str
    base_revision: str | None
    base_files: Mapping[str, str]
    tokenizer: Mapping[str, str]
    chat_template: str | None
    architecture: Mapping[str, Any]
    scale: Any
    weights: str | None
    recorded: Mapping[str, Any]

    @classmethod
    def from_manifest(cls, document: Mapping[str, Any] | None) -> "ModelState | None":
        """What a manifest says of its model; None where it says nothing that this version reads."""
        try:
            return cls(**document) if document else None
        except TypeError:
            return None

    def tells_weights(self, *, local_base: bool) -> bool:
        """Whether it tells of all weights, also those of a base that is in a folder."""
        return self.weights is not None and (not local_base or any(map(_is_weights, self.base_files)))

    def document(self) -> dict[str, Any]:
        """This, as a manifest holds it."""
        return to_builtins(self)


class ModelChange(Struct, frozen=True, kw_only=True):
    """Something of a model that changed: how much of a version it is worth, and the file that says so."""

    part: Part
    what: str
    file: str


def read_state(run: str, folder: Folder, model: BaseModel, base: Folder | None) -> ModelState:
    """What a run is made of; `model` is its base model, and `base` that one's folder where it is at hand: one that is
    on the Hub alone has a revision."""
    config = object_in(folder, CONFIG_FILE)
    own_tokenizer = any(Path(name).match(pattern) for name in folder.names() for pattern in VOCABULARIES)
    tokenizer = folder if own_tokenizer or base is None else base
    return ModelState(
        run=run,
        base_model=model.id,
        base_revision=model.revision,
        base_files={name: base.digest(name) for name in _model_names(base)} if base else {},
        tokenizer={name: _tokenizer_digest(tokenizer, name) for name in _tokenizer_names(tokenizer)},
        chat_template=_chat_template(folder) or (_chat_template(base) if base else None),
        architecture={key: _sorted(config[key]) for key in _ARCHITECTURE if _says_something(config.get(key))},
        scale=[config.get("lora_alpha"), config.get("alpha_pattern") or {}],
        weights=adapter_digest(folder),
        recorded=publishable(object_in(folder, METADATA_FILE)),
    )


def adapter_digest(folder: Folder) -> str | None:
    """The digest of a run's adapter; None where its weights are not there."""
    return folder.digest(WEIGHTS_FILE) if WEIGHTS_FILE in folder.names() else None


def base_reference(folder: Folder) -> tuple[str, str | None]:
    """The base model as the adapter names it, a Hub id or a path of the machine that trained it; and its revision."""
    config = object_in(folder, CONFIG_FILE)
    return str(config.get("base_model_name_or_path", "")), config.get("revision")


def changes(before: ModelState, now: ModelState) -> Iterator[ModelChange]:
    """What changed between two releases' models, by how much of a version it is worth."""
    if (before.base_model, before.base_revision) != (now.base_model, now.base_revision):
        what = f"the base model is {_revised(now)}, and was {_revised(before)}"
        yield ModelChange(part=Part.MAJOR, what=what, file=CONFIG_FILE)
    for name in _differing(*_comparable(before.base_files, now.base_files)):
        yield ModelChange(part=Part.MAJOR, what="the base model changed", file=f"base/{name}")
    for name in _differing(before.tokenizer, now.tokenizer):
        yield ModelChange(part=Part.MAJOR, what="the tokenizer changed", file=name)
    if before.chat_template != now.chat_template:
        yield ModelChange(part=Part.MAJOR, what="the chat template changed", file=_TEMPLATE_FILE)
    for key in _differing(before.architecture, now.architecture):
        was, is_now = before.architecture.get(key), now.architecture.get(key)
        what = f"the adapter's {key} is {json.dumps(is_now)}, and was {json.dumps(was)}"
        yield ModelChange(part=Part.MAJOR, what=what, file=CONFIG_FILE)
    if before.weights != now.weights:
        yield ModelChange(part=Part.MINOR, what="the adapter's weights changed", file=WEIGHTS_FILE)
    elif before.scale != now.scale:
        yield ModelChange(part=Part.MINOR, what="the adapter's scale changed", file=CONFIG_FILE)


def _revised(state: ModelState) -> str:
    return f"{state.base_model}@{state.base_revision}" if state.base_revision else state.base_model


def _comparable(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Of a base the files that both states tell of, where older manifests did not have its weights."""
    if any(map(_is_weights, before)) == any(map(_is_weights, now)):
        return before, now
    return {name: before[name] for name in before if name in now}, {name: now[name] for name in now if name in before}


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]


def _tokenizer_names(folder: Folder) -> list[str]:
    patterns = [pattern for pattern in TOKENIZER_FILES if pattern != _TEMPLATE_FILE]
    return [name for name in folder.names() if any(Path(name).match(pattern) for pattern in patterns)]


def _model_names(folder: Folder) -> list[str]:
    return [name for name in folder.names() if _is_weights(name) or name == "config.json"]


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


def _tokenizer_digest(folder: Folder, name: str) -> str:
    """A file's digest; of the tokenizer's configuration without the chat template, which counts by itself."""
    config = object_in(folder, name) if name == _TOKENIZER_CONFIG else {}
    if not config:  # or it is no JSON, as a pointer of git LFS
        return folder.digest(name)
    return _digest_of(json.dumps({key: config[key] for key in config if key != "chat_template"}, sort_keys=True))


def _chat_template(folder: Folder) -> str | None:
    if _TEMPLATE_FILE in folder.names():
        return _digest_of(folder.read(_TEMPLATE_FILE).decode(errors="replace"))
    template = object_in(folder, _TOKENIZER_CONFIG).get("chat_template")
    if template is None:
        return None
    return _digest_of(template if isinstance(template, str) else json.dumps(template))


def _digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _says_something(value: Any) -> bool:
    # Layer 0 of `layers_to_transform` is one.
    return not (value is None or value is False or value in ("none", [], {}))


def _sorted(value: Any) -> Any:
    """PEFT writes sets as lists, in any order."""
    return sorted(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value
