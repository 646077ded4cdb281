"""A GGUF's vocabulary in llama.cpp: texts as tokens, tokens as text."""

from collections.abc import Sequence
from ctypes import CDLL, c_int32, create_string_buffer
from pathlib import Path

from tagship.verify.runtimes import llama_functions as llama


class LlamaText:
    """What a model that is loaded makes of texts, by its `_vocabulary` in llama.cpp's functions `_api`."""

    _api: CDLL
    _vocabulary: int

    def tokens(self, text: str) -> list[int]:
        """A text's tokens, with those that begin and end a text where the GGUF asks for them."""
        encoded = text.encode()
        found = (c_int32 * (len(encoded) + 8))()  # a token is at least a byte, but for those that are added
        count = self._api.llama_tokenize(self._vocabulary, encoded, len(encoded), found, len(found), True, True)
        if count < 0:
            raise llama.failure(f"llama.cpp makes no tokens of a text of {len(encoded)} bytes")
        return list(found[:count])

    def text(self, ids: Sequence[int]) -> str:
        """What people read of tokens: nothing of special ones, and U+FFFD for bytes that are no whole character."""
        return b"".join(map(self._piece, ids)).decode(errors="replace")

    def _piece(self, token: int, room: int = 64) -> bytes:
        piece = create_string_buffer(room)
        count = self._api.llama_token_to_piece(self._vocabulary, token, piece, room, 0, False)
        return piece.raw[:count] if count >= 0 else self._piece(token, -count)

    def ends(self, token: int) -> bool:
        """Whether an answer ends with this token."""
        return bool(self._api.llama_vocab_is_eog(self._vocabulary, token))

    @property
    def beginning(self) -> int | None:
        """The token that begins each text, where the GGUF asks for one."""
        begins = self._api.llama_vocab_get_add_bos(self._vocabulary)
        return int(self._api.llama_vocab_bos(self._vocabulary)) if begins else None


class LlamaVocabulary(LlamaText):
    """The vocabulary of a GGUF alone, of which no weights are read. To be closed. Raises ToolError as `load_model`."""

    def __init__(self, path: Path) -> None:
        self._api = llama.llama_functions()
        self._model = llama.load_model(path, vocab_only=True)
        self._vocabulary = self._api.llama_model_get_vocab(self._model)

    def close(self) -> None:
        """Let go of it."""
        self._api.llama_model_free(self._model)
