"""What the Hub says of a base model without fetching it, asked for no longer than a second or two."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.fetch import clients_for_bases
from tagship.hub.patience import impatiently
from tagship.hub.repository import small_file
from tagship.runs.base import BaseModel
from tagship.system.deadline import answers_within
from tagship.weights.checkpoint import INDEX_FILE
from tagship.weights.partial import Spec
from tagship.weights.safetensors import SIZES

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Seconds for what the Hub says of a model, and for its headers once it has answered.
_PATIENCE = 1.2
_PATIENCE_FOR_HEADERS = 2.0
_CONFIG = "config.json"


class HubAnswer(Struct, frozen=True, kw_only=True):
    """What the Hub says of a base. `why_not` is why it said nothing, then all else is empty; `unknown` is whether that
    is since it has no such model, `gated` whether its files may not be read. `head` is the commit of main, `commit`
    that of the base's revision, None where the Hub does not have it; `behind` is by how many commits main went on from
    there. `license` has the front matter's license, license_name and license_link. `sizes` are the files with their
    sizes in bytes, `texts` small ones by name."""

    why_not: str | None = None
    unknown: bool = False
    gated: bool = False
    endpoint: str | None = None
    head: str | None = None
    commit: str | None = None
    behind: int | None = None
    license: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, bytes] = field(default_factory=dict)
    api: "HfApi | None" = None


def ask_about(base: BaseModel, hub: Hub) -> HubAnswer:
    """Ask the Hub about a base model, that of the release first; what hindered is in the answer. Raises only what
    starting the embedded Hub does."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return HubAnswer(why_not="HF_HUB_OFFLINE is set")
    last = HubAnswer(why_not="no Hub was asked")
    for api in clients_for_bases(hub):
        last = _ask(api, base)
        if last.why_not is None:
            return _with_distance(last, base)
    return last


def remote_specs(answer: HubAnswer, base: BaseModel, shards: Iterable[str]) -> dict[str, Spec]:
    """The tensors of shards by their headers alone, a small request each; of those that the Hub sent in time."""
    if answer.api is None:
        return {}
    ask = partial(answer.api.parse_safetensors_file_metadata, base.id, revision=answer.commit)
    questions = {name: partial(impatiently, _PATIENCE_FOR_HEADERS, partial(ask, name)) for name in shards}
    found: dict[str, Spec] = {}
    for header in answers_within(_PATIENCE_FOR_HEADERS, questions).values():
        if not isinstance(header, Exception) and all(info.dtype in SIZES for info in header.tensors.values()):
            found |= {name: (str(info.dtype), tuple(info.shape)) for name, info in header.tensors.items()}
    return found


def _ask(api: "HfApi", base: BaseModel) -> HubAnswer:
    def about(revision: str | None) -> Any:
        with hub_errors(f"look up the base model {base.id}"):
            return api.model_info(base.id, revision=revision, files_metadata=True, timeout=_PATIENCE)

    questions: dict[str, Callable[[], Any]] = {"main": partial(about, None)}
    if base.revision:
        questions["revision"] = partial(about, base.revision)
    questions |= {name: partial(_text, api, base, name) for name in (_CONFIG, INDEX_FILE)}
    found = answers_within(_PATIENCE, {key: partial(impatiently, _PATIENCE, ask) for key, ask in questions.items()})
    main, at = found.get("main"), found.get("revision", found.get("main"))
    if main is None or isinstance(main, Exception):
        why_not = str(main) if main else f"{api.endpoint} did not answer within {_PATIENCE} seconds"
        return HubAnswer(why_not=why_not, unknown=_is_because(main, "RepositoryNotFoundError"))
    if isinstance(at, Exception) and not _is_because(at, "RevisionNotFoundError"):
        return HubAnswer(why_not=str(at))
    info = None if isinstance(at, Exception) else at
    card = (info or main).card_data
    said = card.to_dict() if card else {}
    return HubAnswer(
        gated=any(_is_because(answer, "GatedRepoError") for answer in found.values()),
        endpoint=str(api.endpoint),
        head=main.sha,
        commit=info.sha if info else None,
        license={key: value for key, value in said.items() if key.startswith("license") and isinstance(value, str)},
        sizes={file.rfilename: file.size or 0 for file in (info.siblings if info else None) or ()},
        texts={name: text for name in (_CONFIG, INDEX_FILE) if isinstance(text := found.get(name), bytes)},
        api=api,
    )


def _text(api: "HfApi", base: BaseModel, name: str) -> bytes:
    with hub_errors(f"read {name} of {base.id}"):
        return small_file(api, base.id, name, base.revision, timeout=_PATIENCE)


def _is_because(answer: Any, error: str) -> bool:
    """Whether an answer is that the Hub's client raised an error of this name."""
    from huggingface_hub import errors

    cause = answer.__cause__ if isinstance(answer, Exception) else None
    # That a model is gated is a kind of not finding it.
    return isinstance(cause, getattr(errors, error)) and (
        error == "GatedRepoError" or not isinstance(cause, errors.GatedRepoError)
    )


def _with_distance(answer: HubAnswer, base: BaseModel) -> HubAnswer:
    """How far main went on, where it did: one more question."""
    if answer.commit in (None, answer.head) or answer.api is None:
        return answer
    ask = partial(impatiently, _PATIENCE, partial(answer.api.list_repo_commits, base.id))
    listed = answers_within(_PATIENCE, {"commits": ask}).get("commits")
    commits = [commit.commit_id for commit in listed] if isinstance(listed, list) else []
    return replace(answer, behind=commits.index(answer.commit) if answer.commit in commits else None)
