"""tokenizer.json, read once: of a large one it takes half a second, and every format of a release asks it several
things."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import MsgspecError, Struct

from tagship.system.errors import ReleaseError
from tagship.system.git_lfs import refuse_pointer
from tagship.weights.safetensors import Stamp, stamp_of


class _Model(Struct):
    vocab: Any = None


class _Document(Struct):
    """What is read of the file: its merges, which are most of it, are passed over."""

    model: _Model | None = None
    added_tokens: Any = None


class TokenizerFile(Struct, frozen=True, eq=False, dict=True):
    """What a release asks of a tokenizer.json: its vocabulary as it stands there (ids by piece, or pieces in the order
    of their ids), None where it has none; and the tokens that were added to it."""

    path: Path
    vocabulary: Any
    added: tuple[Mapping[str, Any], ...]

    def id_of(self, content: str) -> int | None:
        """The id of a token, None where there is none of that content."""
        for token in self.added:
            if token.get("content") == content:
                return int(token["id"])
        found = self.vocabulary.get(content) if isinstance(self.vocabulary, dict) else None
        return found if isinstance(found, int) else None

    @property
    def tokens(self) -> int:
        """One more than the largest id. Raises ReleaseError for a file of another library."""
        if self.vocabulary is None:
            raise _refused(self.path, "it has no model with a vocab")
        pieces = self.vocabulary
        try:
            last = max(pieces.values()) if isinstance(pieces, dict) else len(pieces) - 1
            return 1 + max([last, *(token["id"] for token in self.added)])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refused(self.path, repr(error)) from None


def read_tokenizer_file(path: Path) -> TokenizerFile:
    """Read a tokenizer.json. Raises ReleaseError when it is no JSON object, or a pointer of git LFS."""
    return _read(path, stamp_of(path.stat()))


@lru_cache(maxsize=4)
def _read(path: Path, stamp: Stamp) -> TokenizerFile:
    content = path.read_bytes()
    refuse_pointer(path, content)
    try:
        try:
            read = msgspec.json.decode(content, type=_Document)
            vocabulary, added = read.model.vocab if read.model else None, read.added_tokens
        except MsgspecError:  # it is another library's, or no JSON: told by what reads anything
            document = json.loads(content)
            model, added = document.get("model"), document.get("added_tokens")
            vocabulary = model.get("vocab") if isinstance(model, dict) else None
        return TokenizerFile(path=path, vocabulary=vocabulary, added=tuple(added or ()))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(path, repr(error)) from None


def _refused(path: Path, problem: str) -> ReleaseError:
    return ReleaseError(f"{path} is no tokenizer of the tokenizers library: {problem}")
