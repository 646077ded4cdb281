"""The files that go with a model's weights: those that the run brings, else the base's, as they have to be published.

What was trained is the run's tokenizer, chat template and end of an answer, whatever the base has. Files are copied as
they are, but for what would be wrong in them: an end of an answer that nobody trained, a class that only one version of
transformers knows, the paths of somebody's machine, the names of code that is not published.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.hub_server.name_rules import repo_name_problem
from tagship.runs.base_code import CODE_KEY, classes_named, code_files, localized
from tagship.runs.base_folder import (
    LEGAL_FILES,
    MODEL_FILES,
    PROCESSOR_FILES,
    TOKENIZER_FILES,
    VOCABULARIES,
    BaseFolder,
    matching_files,
)
from tagship.runs.tokenizer_file import read_tokenizer_file
from tagship.system.files import copy_file, write_json
from tagship.system.json_files import read_object

CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"
_SENTENCEPIECE = "tokenizer.model"
_TEMPLATE_FILE = "chat_template.jinja"
# What a run may bring without a tokenizer: how it was talked to, and how its answers are to be made.
_TEMPLATES = (_TEMPLATE_FILE, "chat_template.json", "additional_chat_templates/*")
# The class of any tokenizer.json, as transformers 5 calls it, and as all versions do.
_ANY_CLASS, _KNOWN_TO_ALL = "TokenizersBackend", "PreTrainedTokenizerFast"
# Where libraries note which path they loaded.
_PATHS = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file")


class ModelFiles(Struct, frozen=True, kw_only=True):
    """The files by their names below the model's folder: where each comes from, and those documents that are written
    otherwise than they are there (or are in no file at all). `tokenizer_code` are those that the tokenizer is read by,
    where the base's own code may be run."""

    sources: Mapping[str, Path]
    documents: Mapping[str, Mapping[str, Any]]
    tokenizer_code: frozenset[str] = frozenset()

    def names(self) -> list[str]:
        return sorted({*self.sources, *self.documents})

    def document(self, name: str) -> dict[str, Any]:
        """The JSON object in a file, as it will be; empty where there is none."""
        if name in self.documents:
            return dict(self.documents[name])
        return read_object(self.sources[name]) if name in self.sources else {}

    def write(self, folder: Path, names: list[str] | None = None) -> None:
        """Put the files into a folder, all of them or those of these names."""
        for name in self.names() if names is None else names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in self.documents:
                write_json(target, self.documents[name])
            else:
                copy_file(self.sources[name], target)

    @property
    def of_the_tokenizer(self) -> list[str]:
        """The names of the files that tell how the model is talked to, and where its answers end."""
        return [
            name
            for name in self.names()
            if name == GENERATION_FILE or _matches(name, TOKENIZER_FILES) or name in self.tokenizer_code
        ]

    @property
    def of_the_license(self) -> list[str]:
        """The names of the files that many licenses want every copy of a model to have."""
        return [name for name in self.names() if _matches(name, LEGAL_FILES)]


def model_files(base: BaseFolder, run: Path) -> ModelFiles:
    """The files of a model that was trained from `base` in the folder `run`. Raises ReleaseError for malformed JSON."""
    own_tokenizer = any(next(run.glob(pattern), None) for pattern in VOCABULARIES)
    sources = matching_files(base.path, MODEL_FILES)
    sources |= matching_files(run, (GENERATION_FILE,))
    sources |= _tokenizer_files(base.path, run, own_tokenizer)
    files = ModelFiles(sources=dict(sorted(sources.items())), documents={})
    changed: dict[str, dict[str, Any]] = {}
    if own_tokenizer:
        changed |= _ending_as_trained(files)
        changed |= _with_known_class(files, base.path)
    elif (template := _template_inside(run)) is not None:
        changed[TOKENIZER_CONFIG] = files.document(TOKENIZER_CONFIG) | {"chat_template": template}
        sources.pop(_TEMPLATE_FILE, None)  # it would win
    for name in (CONFIG_FILE, GENERATION_FILE, TOKENIZER_CONFIG, *PROCESSOR_FILES):
        document = changed.get(name) or files.document(name)
        cleaned = published(document, code=base.trust_remote_code)
        if base.trust_remote_code:
            of_run = name in sources and sources[name].parent == run
            cleaned = localized(cleaned, base.id, base.path, of_run=of_run)
        if cleaned != document:
            changed[name] = cleaned
    files = ModelFiles(sources=dict(sorted(sources.items())), documents=changed)
    return _with_code(files, base) if base.trust_remote_code else files


def _with_code(files: ModelFiles, base: BaseFolder) -> ModelFiles:
    """The files with the base's code that they name."""
    of_model = code_files(base.path, _code_in(files, (CONFIG_FILE, *PROCESSOR_FILES)))
    of_tokenizer = code_files(base.path, _code_in(files, (TOKENIZER_CONFIG,)))
    sources = {**files.sources, **of_model, **of_tokenizer}
    return replace(files, sources=dict(sorted(sources.items())), tokenizer_code=frozenset(of_tokenizer))


def _code_in(files: ModelFiles, names: Iterable[str]) -> list[str]:
    return [named for name in names for named in classes_named(files.document(name))]


def published(document: Mapping[str, Any], *, code: bool = False) -> dict[str, Any]:
    """A configuration without the paths of the machine that it was written on and, but for `code`, the names of code
    that it may run, also of the models inside of it."""
    return {
        key: published(value, code=code) if isinstance(value, dict) else value
        for key, value in document.items()
        if (code or key != CODE_KEY) and not (key in _PATHS and _is_path(value))
    }


def has_chat_template(files: ModelFiles) -> bool:
    """Whether the model is talked to in messages."""
    return any(name in files.names() for name in _TEMPLATES[:2]) or bool(
        files.document(TOKENIZER_CONFIG).get("chat_template")
    )


def context_length(files: ModelFiles) -> int | None:
    """How many tokens the model's configuration says that it reads at once; None where it does not say."""
    config = files.document(CONFIG_FILE)
    inner = config.get("text_config")
    parts = (inner if isinstance(inner, dict) else {}, config)
    said = (part.get(key) for part in parts for key in ("max_position_embeddings", "n_positions", "seq_length"))
    return next((value for value in said if isinstance(value, int) and value > 0), None)


def end_tokens(files: ModelFiles) -> list[int]:
    """The ids of the tokens that end an answer, as transformers' `generate` reads them from these files."""
    for name in (GENERATION_FILE, CONFIG_FILE):
        if ids := _ids(files.document(name).get("eos_token_id")):
            return ids
    return []


def _tokenizer_files(base: Path, run: Path, own_tokenizer: bool) -> dict[str, Path]:
    home = run if own_tokenizer else base
    found = matching_files(home, TOKENIZER_FILES)
    # Beside a template inside tokenizer_config.json, the base's file would win.
    if own_tokenizer and not read_object(run / TOKENIZER_CONFIG).get("chat_template"):
        found = matching_files(base, (_TEMPLATE_FILE,)) | found
    if not own_tokenizer:
        found |= matching_files(run, _TEMPLATES)
    elif _SENTENCEPIECE not in found and (base / _SENTENCEPIECE).is_file() and _same_vocabulary(base, run):
        found[_SENTENCEPIECE] = base / _SENTENCEPIECE  # transformers 5 does not save it again
    return found


def _template_inside(run: Path) -> Any:
    """The template in a run's tokenizer configuration, where no file of its own replaces it."""
    return None if (run / _TEMPLATE_FILE).is_file() else read_object(run / TOKENIZER_CONFIG).get("chat_template")


def _ending_as_trained(files: ModelFiles) -> dict[str, dict[str, Any]]:
    """The configurations with the tokenizer's end of text among the tokens that end an answer, the first of them, where
    they have others: what transformers' Trainer does to the model that it trains (align_special_tokens)."""
    end = _id_of(files, files.document(TOKENIZER_CONFIG).get("eos_token"))
    if end is None or end in (ids := end_tokens(files)):
        return {}
    generation = files.document(GENERATION_FILE) | {"eos_token_id": [end, *ids] if ids else end}
    changed = {GENERATION_FILE: generation}
    config = files.document(CONFIG_FILE)
    inner = config.get("text_config")
    if isinstance(inner, dict) and "eos_token_id" in inner and "eos_token_id" not in config:
        changed[CONFIG_FILE] = config | {"text_config": inner | {"eos_token_id": end}}
    elif "eos_token_id" in config:
        changed[CONFIG_FILE] = config | {"eos_token_id": end}
    return changed


def _with_known_class(files: ModelFiles, base: Path) -> dict[str, dict[str, Any]]:
    document = files.document(TOKENIZER_CONFIG)
    if document.get("tokenizer_class") != _ANY_CLASS:
        return {}
    theirs = read_object(base / TOKENIZER_CONFIG).get("tokenizer_class")
    known = theirs if theirs and theirs != _ANY_CLASS and _same_vocabulary(base, files.sources) else _KNOWN_TO_ALL
    return {TOKENIZER_CONFIG: document | {"tokenizer_class": known}}


def _same_vocabulary(base: Path, run: Path | Mapping[str, Path]) -> bool:
    """Whether base and run split text into the same pieces with the same ids; tokens that were added may differ."""
    ours = run.get(TOKENIZER_FILE) if isinstance(run, Mapping) else run / TOKENIZER_FILE
    theirs = base / TOKENIZER_FILE
    if ours is None or not (ours.is_file() and theirs.is_file()):
        return False
    first, second = (read_tokenizer_file(path).vocabulary for path in (theirs, ours))
    return first is not None and first == second


def _id_of(files: ModelFiles, token: Any) -> int | None:
    """The id of a token, as a tokenizer's configuration has it: text, or an object with its content."""
    content = token.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str):
        return None
    path = files.sources.get(TOKENIZER_FILE)
    if path is not None and (known := read_tokenizer_file(path).id_of(content)) is not None:
        return known
    found = files.document("added_tokens.json").get(content, files.document("vocab.json").get(content))
    return found if isinstance(found, int) else None


def _ids(value: Any) -> list[int]:
    listed = value if isinstance(value, list) else [value]
    return [token for token in listed if isinstance(token, int) and not isinstance(token, bool)]


def _is_path(value: Any) -> bool:
    """Whether a text is a path rather than a model's id."""
    parts = value.split("/") if isinstance(value, str) else []
    return bool(value) and (not parts or len(parts) > 2 or "\\" in str(value) or any(map(repo_name_problem, parts)))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(Path(name).match(pattern) for pattern in patterns)
