"""The base of a run as far as it is here or the Hub tells: files, tensors, license."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tagship.gguf.architectures import first_architecture
from tagship.hub.base_questions import HubAnswer, remote_specs
from tagship.release.examination.facts import BaseFacts, LicenseFacts
from tagship.release.finding import Problem
from tagship.release.gates import check_code
from tagship.runs.base import BaseModel
from tagship.runs.base_at_hand import FOLDER, SINGLE, BaseAtHand, WeightFiles, base_at_hand
from tagship.runs.base_code import code_needed, model_code_needed
from tagship.runs.base_folder import BaseFolder, card_data_of, check_base_folder, overruled_license
from tagship.runs.licenses import TERMS
from tagship.system.errors import ReleaseError
from tagship.system.files import scratch_folder, write_json
from tagship.weights.adapter_config import AdapterConfig
from tagship.weights.base_names import by_base_names
from tagship.weights.changes import LowRank
from tagship.weights.checkpoint import INDEX_FILE, SINGLE_FILE, open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.partial import HEADERS, LAYERS, Described, describe, lay_out_skeleton, specs_here
from tagship.weights.safetensors import TensorEntry

_CONFIG = "config.json"
_UNKNOWN = "unknown"


def base_facts(base: BaseModel, answer: HubAnswer, run: Path, adapter: AdapterConfig) -> BaseFacts:
    """What is known of a base. Raises ReleaseError for a file of it that is damaged."""
    at_hand = base_at_hand(base)
    config = dict(at_hand.config) or _document(answer, _CONFIG)
    files = at_hand.files or _remote_files(answer)
    described = _described(base, at_hand, files, config, answer, run) if files else None
    return BaseFacts(
        model=base,
        at_hand=at_hand,
        config=config,
        files=files,
        described=described,
        architecture=first_architecture(config),
        trained_class=adapter.trained_class,
        to_fetch=_to_fetch(at_hand, files, answer, described) if base.path is None else 0,
        problem=_problem(base, at_hand) if base.path is not None else None,
        code_problem=_code_problem(base, at_hand, config),
        hub=answer,
    )


def license_facts(base: BaseModel, at_hand: BaseAtHand, answer: HubAnswer) -> LicenseFacts:
    """The license of a base: the policy's word before the base's own card, and that before the Hub's."""
    card = card_data_of(at_hand.folder) if at_hand.folder else {}
    sources: list[tuple[str, Mapping[str, Any]]] = [
        ("release.toml", {"license": base.license}),
        ("its model card", card),
        ("the Hub", answer.license),
    ]
    who, known = next(((who, said) for who, said in sources if isinstance(said.get("license"), str)), (None, {}))
    found = known.get("license")
    details = card if who == "release.toml" else known
    return LicenseFacts(
        id=found,
        said_by=who,
        name=details.get("license_name"),
        link=details.get("license_link"),
        terms=TERMS.get(found or ""),
        overruled=overruled_license(base.license, card),
    )


@contextmanager
def skeleton_of(facts: BaseFacts, licensed: LicenseFacts) -> Iterator[BaseFolder]:
    """A folder like the base's, in which files of weights that are not here have headers and no bytes."""
    whole = BaseFolder(
        id=facts.model.id,
        path=facts.at_hand.folder or Path(),
        revision=facts.model.revision,
        license=licensed.id or _UNKNOWN,
        license_name=licensed.name,
        license_link=licensed.link,
    )
    assert facts.described is not None and facts.files is not None
    if facts.at_hand.here == facts.files.names:
        yield whole
        return
    with scratch_folder("tagship-base") as folder:
        here = {path.name: path for path in facts.at_hand.folder.iterdir()} if facts.at_hand.folder else {}
        lay_out_skeleton(facts.described, folder, here)
        if _CONFIG not in here:
            write_json(folder / _CONFIG, facts.config)
        yield replace(whole, path=folder)


def _described(
    base: BaseModel,
    at_hand: BaseAtHand,
    files: WeightFiles,
    config: Mapping[str, Any],
    answer: HubAnswer,
    run: Path,
) -> Described | None:
    known = specs_here(at_hand.folder, at_hand.here) if at_hand.folder else {}
    if not files.shards and known:
        return Described(specs=known, shards=dict.fromkeys(known, SINGLE_FILE), basis=HEADERS)
    if files.shards:
        told = describe(files.shards, files.total, known, config, {})
        if told and told.basis in (HEADERS, LAYERS):
            return told
    missing = [name for name in files.names if name not in at_hand.here]
    known |= remote_specs(answer, base, missing)
    if not files.shards:
        shards = dict.fromkeys(known, SINGLE_FILE)
        return Described(specs=known, shards=shards, basis=HEADERS) if known else None
    return describe(files.shards, files.total, known, config, _wanted(run, files.shards))


def _wanted(run: Path, shards: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """The shapes that an adapter needs, by the names in the base's index."""
    entries = {name: TensorEntry(name=name, dtype="BF16", shape=(0, 0), start=0, end=0) for name in shards}
    try:
        trained = by_base_names(read_adapter(run), entries)
    except ReleaseError:  # told where it is held against the base
        return {}
    low = {name: change for name, made in trained.changes.items() for change in made if isinstance(change, LowRank)}
    shapes = {name: tuple(size for size in change.shape if size) for name, change in low.items()}
    return {name: entry.shape for name, entry in trained.replaced.items()} | shapes


def _remote_files(answer: HubAnswer) -> WeightFiles | None:
    if SINGLE_FILE in answer.sizes:
        return SINGLE
    index = _document(answer, INDEX_FILE)
    return WeightFiles.of_index(index) if isinstance(index.get("weight_map"), dict) else None


def _document(answer: HubAnswer, name: str) -> dict[str, Any]:
    try:
        document = json.loads(answer.texts.get(name, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _to_fetch(at_hand: BaseAtHand, files: WeightFiles | None, answer: HubAnswer, described: Described | None) -> int:
    """The bytes of weights that a release would fetch: as the Hub says, else by their headers."""
    if files is None:
        return 0
    missing = set(files.names) - set(at_hand.here)
    if missing <= answer.sizes.keys():
        return sum(answer.sizes[name] for name in missing)
    if described is None:
        return 0
    specs = {name: spec for name, spec in described.specs.items() if described.shards[name] in missing}
    return Described(specs=specs, shards={}, basis=described.basis).nbytes


def _code_problem(base: BaseModel, at_hand: BaseAtHand, config: Mapping[str, Any]) -> Problem | None:
    """Why the base's own code stands in the way. What a tokenizer needs is known only where all of its files are."""
    try:
        if at_hand.place == FOLDER and at_hand.folder is not None:
            check_code(base, code_needed(at_hand.folder, [path.name for path in at_hand.folder.iterdir()]))
        else:
            check_code(base, model_code_needed(config))
    except ReleaseError as error:
        return Problem.of(error)
    return None


def _problem(base: BaseModel, at_hand: BaseAtHand) -> Problem | None:
    """Why a folder is no whole base. Its license is told apart, and what is wrong inside of its weights by the formats,
    which read them."""
    assert base.path is not None
    try:
        check_base_folder(replace(base, license=base.license or _UNKNOWN), base.path, revision=base.revision)
        if at_hand.files is None or at_hand.here != at_hand.files.names:
            open_checkpoint(base.path)
    except ReleaseError as error:
        return Problem.of(error)
    return None
