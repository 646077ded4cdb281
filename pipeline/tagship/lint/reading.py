"""Reads what a folder or repository holds, from configurations and headers alone."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tagship.artifacts.manifest import MANIFEST_FILE
from tagship.lint.files import Files, document_in
from tagship.lint.headers import read_ggufs, read_parameters
from tagship.lint.held import ADAPTER, GGUF, MERGED, Fact, Held
from tagship.runs.base_folder import MODEL_FILES
from tagship.runs.run import METADATA_FILE, TRAINER_FILE
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE, AdapterConfig, parse_adapter_config
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE

MODEL_CONFIG = MODEL_FILES[0]
_FILES = "its files"
# Of epochs and alphas; NaN is no number either.
_LARGEST = 1e12
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_TOKENIZER_CONFIG = "tokenizer_config.json"


def read_held(files: Files) -> Held:
    """What is in a run, an export or a repository.

    Raises ReleaseError that names the file that is damaged.
    """
    names, config = files.names(), document_in(files, MODEL_CONFIG)
    held = _with_config(read_run(files), config)
    if SINGLE_FILE in names or INDEX_FILE in names:
        held = replace(held, holds=held.holds | {MERGED}, parameters=read_parameters(files, config))
    if ggufs := [name for name in names if name.endswith(".gguf")]:
        held = _with_ggufs(held, files, ggufs)
    return held


def read_run(files: Files) -> Held:
    """What a training run says of itself, whatever else lies there.

    Raises ReleaseError that names the file that is damaged.
    """
    held = Held(where=_FILES, chat_template=_has_template(files))
    if CONFIG_FILE in files.names():
        held = _with_adapter(held, files)
    return _with_record(held, document_in(files, METADATA_FILE), document_in(files, TRAINER_FILE))


def read_base(files: Files) -> Held:
    """What is in the folder of a base model, whatever else lies there.

    Raises ReleaseError that names the file that is damaged.
    """
    config = document_in(files, MODEL_CONFIG)
    held = _with_config(Held(where=_FILES), config)
    return replace(held, parameters=read_parameters(files, config), chat_template=_has_template(files))


def with_manifest(held: Held, document: Mapping[str, Any]) -> Held:
    """What release.json says beside what the files do, which come first.

    A manifest that another program wrote says nothing here.
    """
    if document.get("schema") is None:
        return held
    model = _part(document, "model")
    architecture, scale = _part(model, "architecture"), model.get("scale")
    base = document.get("base_model")
    version, quant = document.get("version"), document.get("quant")
    held = _with_record(held, _part(model, "recorded"), {}, MANIFEST_FILE)
    return replace(
        held,
        base_ids=(*held.base_ids, base) if isinstance(base, str) else held.base_ids,
        rank=held.rank or _fact(architecture.get("r"), int, MANIFEST_FILE),
        alpha=held.alpha or _fact(scale[0] if isinstance(scale, list) and scale else None, float, MANIFEST_FILE),
        quant=_fact(quant.upper() if isinstance(quant, str) else None, str, MANIFEST_FILE),
        version=Fact(version if isinstance(version, str) else None, MANIFEST_FILE),
    )


def with_base(held: Held, base: Held, base_id: str) -> Held:
    """What a run or an adapter says, and what its base model adds: family, size and chat template."""
    return replace(
        held,
        base_ids=(base_id,),  # an adapter may record a path, or a quantized form
        architecture=held.architecture or _placed(base.architecture, "the base model's"),
        text_architecture=held.text_architecture or base.text_architecture,
        classes=held.classes or base.classes,
        parameters=held.parameters or _placed(base.parameters, "the base model's"),
        chat_template=held.chat_template or base.chat_template,
    )


def _has_template(files: Files) -> bool:
    in_a_file = any(name in files.names() for name in _TEMPLATES)
    return in_a_file or "chat_template" in document_in(files, _TOKENIZER_CONFIG)


def _placed(fact: Fact[Any] | None, whose: str) -> Fact[Any] | None:
    return fact and Fact(fact.value, f"{whose} {fact.where}")


def _with_adapter(held: Held, files: Files) -> Held:
    adapter: AdapterConfig = parse_adapter_config(document_in(files, CONFIG_FILE), f"{files.place}/{CONFIG_FILE}")
    weights = WEIGHTS_FILE in files.names()
    return replace(
        held,
        holds=held.holds | {ADAPTER} if weights else held.holds,
        task=Fact(adapter.task, CONFIG_FILE) if adapter.task else None,
        rank=Fact(adapter.rank, CONFIG_FILE) if adapter.rank else None,
        ranks=tuple(sorted({adapter.rank, *adapter.rank_pattern.values()})),
        alpha=Fact(adapter.alpha, CONFIG_FILE) if adapter.alpha else None,
        alphas=tuple(sorted({adapter.alpha, *adapter.alpha_pattern.values()})),
        base_ids=(adapter.base_model,) if adapter.base_model else (),
    )


def _with_config(held: Held, config: Mapping[str, Any]) -> Held:
    kind, classes = config.get("model_type"), config.get("architectures")
    inner = _part(config, "text_config").get("model_type")
    return replace(
        held,
        architecture=_fact(kind, str, MODEL_CONFIG),
        text_architecture=inner if isinstance(inner, str) else None,
        classes=tuple(name for name in classes if isinstance(name, str)) if isinstance(classes, list) else (),
    )


def _with_ggufs(held: Held, files: Files, names: list[str]) -> Held:
    found = read_ggufs(files, names)
    kinds = {each.kind for each in found.files.values()}
    return replace(
        held,
        holds=held.holds | ({GGUF} if "model" in kinds else set()) | ({ADAPTER} if "adapter" in kinds else set()),
        ggufs=found.files,
        gguf_versions=found.versions,
        architecture=held.architecture or found.architecture,
        parameters=held.parameters or found.parameters,
        chat_template=held.chat_template or found.chat_template,
    )


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _with_record(held: Held, recorded: Mapping[str, Any], trainer: Mapping[str, Any], where: str | None = None) -> Held:
    dataset = recorded.get("dataset")
    dataset = dataset.get("name") if isinstance(dataset, dict) else dataset
    epochs = _fact(recorded.get("epochs", recorded.get("num_train_epochs")), float, where or METADATA_FILE)
    return replace(
        held,
        dataset=held.dataset or _fact(dataset, str, where or METADATA_FILE),
        epochs=held.epochs or epochs or _fact(trainer.get("num_train_epochs"), float, TRAINER_FILE),
        stopped=held.stopped or _fact(trainer.get("epoch"), float, TRAINER_FILE),
    )


def _fact(value: Any, kind: type[Any], where: str) -> Fact[Any] | None:
    """A value of that type, and a number that is one; None for anything else that a file may hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind) or value == "":
        return None
    if kind is float and not -_LARGEST < value < _LARGEST:
        return None
    return Fact(kind(value), where)
