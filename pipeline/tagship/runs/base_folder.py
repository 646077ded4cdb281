"""The base model of a run on this disk: its folder, checked to be whole, and what goes with its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.hub_server.card_rules import OTHER
from tagship.runs.base import BaseModel
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.system.toml_reader import nearest

# What tells a tokenizer from the rest of a model's files.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tekken.json",
    "*.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*",
)
# What else goes with the weights. Without the files of its processor, a model that sees or hears does not start.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
LEGAL_FILES = ("LICENSE*", "NOTICE*", "USE_POLICY*")
MODEL_FILES = ("config.json", "generation_config.json", *PROCESSOR_FILES, *LEGAL_FILES)
# One of these makes a tokenizer; the others only describe it.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "*.tiktoken")
# The Hub's tasks by the parts of a configuration; without one of them a model reads text alone.
TEXT = "text-generation"
_SENSES = {"vision_config": "image-text-to-text", "audio_config": "audio-text-to-text"}


class BaseFolder(Struct, frozen=True, kw_only=True):
    """A base model on this disk; `revision` is the Hub commit that it was fetched at, if it was.

    `license` is the Hub's identifier; with `other`, the model's own page, or the policy, names and links it.
    `trust_remote_code` is whether code of its own may be run, and is published with what is made of it.
    """

    id: str
    path: Path
    revision: str | None
    license: str
    license_name: str | None = None
    license_link: str | None = None
    trust_remote_code: bool = False

    @property
    def pipeline_tag(self) -> str:
        """What the Hub calls what a model writes text from, by the parts that its configuration has."""
        config = read_object(self.path / "config.json")
        return next((task for part, task in _SENSES.items() if config.get(part)), TEXT)


def check_is_there(base: BaseModel, path: Path) -> None:
    """Raise ReleaseError where the folder of a base is none."""
    if path.is_dir():
        return
    there = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    raise ReleaseError(
        f"the base model {base.id} should be in {path}, which does not exist{nearest(path.name, there)}",
        remedy=f'name the folder that it is in as path in [bases."{base.id}"], or leave path out for the Hub\'s',
    )


def check_base_folder(base: BaseModel, path: Path, *, revision: str | None) -> BaseFolder:
    """A base that is whole: configuration, tokenizer and license are there.

    Raises ReleaseError that names what is missing. The weights are checked by their headers.
    """
    check_is_there(base, path)
    if not (path / "config.json").is_file():
        raise ReleaseError(f"the base model in {path} has no config.json")
    if not any(next(path.glob(pattern), None) for pattern in VOCABULARIES):
        raise ReleaseError(
            f"the base model in {path} has no tokenizer (tokenizer.json, tokenizer.model, …)",
            remedy="fetch the model again, whole: an export without a tokenizer cannot run",
        )
    card = card_data_of(path)
    said = {
        key: getattr(base, key) or card.get(key)
        for key in ("license", *(() if base.license and base.license != OTHER else ("license_name", "license_link")))
    }
    if not isinstance(said["license"], str):
        has = "no `license:`" if said["license"] is None else f"several: {said['license']!r:.80}"
        raise ReleaseError(
            f"the license of the base model {base.id} is not known: its README.md has {has}",
            remedy=f'add to release.toml: [bases."{base.id}"] license = "…", as the model\'s page says',
        )
    texts = {key: value for key, value in said.items() if isinstance(value, str)}
    return BaseFolder(id=base.id, path=path, revision=revision, trust_remote_code=base.trust_remote_code, **texts)


def vocabulary_rows(folder: Path) -> int | None:
    """The rows of the embedding that config.json declares, or None where it does not say.

    Raises ReleaseError when it is no JSON object.
    """
    config = read_object(folder / "config.json")
    inner = config.get("text_config")
    value = config.get("vocab_size", inner.get("vocab_size") if isinstance(inner, dict) else None)
    return value if isinstance(value, int) else None


def matching_files(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    """The files of a folder that match any of the glob patterns, by their name below it."""
    return {
        path.relative_to(folder).as_posix(): path
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.is_file()
    }


def overruled_license(said: str | None, card: Mapping[str, Any]) -> str | None:
    """The license that a model's own card names by an identifier, where the policy says another one."""
    own = card.get("license")
    return own if said and isinstance(own, str) and own not in (said, OTHER, "unknown") else None


def card_data_of(folder: Path) -> dict[str, Any]:
    """What the front matter of a model's card says, its license above all; empty where there is none."""
    readme = folder / "README.md"
    if not readme.is_file():
        return {}
    import yaml
    from huggingface_hub import ModelCard

    try:
        return dict(ModelCard.load(readme).data.to_dict())
    except (ValueError, RecursionError, yaml.YAMLError):  # front matter that is none tells no license
        return {}
