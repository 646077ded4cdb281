"""A GGUF in llama.cpp, asked by the functions of llama.h: logits of whole texts, and several answers at a time.

It is set up as llama-server is, so that its answers are those that people get: with the flash kernel for attention, and
keys and values in float16. That costs some millionths of a nat: with float32 weights of 135M parameters the mean
divergence from float64 was 0.5e-6 in batches and 2.8e-6 token by token. Float32 without the flash kernel would leave
1e-11, in twice the memory for keys and values and 1.4 times the time. What differs from the server is that
weights stay where they are mapped; it has a copy of some, packed anew for the processor.

Of quantized weights llama.cpp quantizes what they are multiplied with, too, so that the same text in other batches has
other logits: by 3e-3 nats in that model, however it is set up, and whether its weights have 8 bits or 4.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ctypes import byref, c_float, c_int32, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from tagship.system.errors import ReleaseError, ToolError
from tagship.system.pool import cores
from tagship.verify.runtimes import llama_functions as llama
from tagship.verify.runtimes.llama_memory import LlamaMemory
from tagship.verify.runtimes.llama_text import LlamaText

T = TypeVar("T")
Array = np.ndarray[Any, np.dtype[np.float32]]

# Bytes of logits that are computed at once. llama.cpp holds them twice, in its graph and for whoever asked.
_BLOCK = 80 << 20
# Tokens that are computed at once: more than llama-server's 512, so that a text of so many and a few short answers are
# one batch. A model that memory does not hold is read from the disk for each.
_BATCH = 640


class _Input(NamedTuple):
    """A token that is computed, and whether the one after it is asked for."""

    token: int
    position: int
    sequence: int
    asked: bool


class LlamaModel(LlamaText):
    """A GGUF in llama.cpp, on the processor, with its weights mapped. To be closed, or used in a `with`.

    `context` is how many tokens there is room for, of `sequences` texts (256 at most) that are computed together;
    `adapter` is the GGUF of a LoRA that is applied to it, `vocabulary` is how many logits there are for a token,
    `trained_context` how many tokens it reads at once. `watch` is a `cb_eval` of ggml's, which sees what is computed.
    Raises ToolError for what llama.cpp does not load or what does not continue texts, and as `llama_functions`.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int,
        sequences: int = 1,
        adapter: Path | None = None,
        watch: c_void_p | None = None,
    ) -> None:
        if context < 1 or sequences < 1:
            raise ValueError(f"{sequences} texts of {context} tokens")
        self._api = llama.llama_functions()
        self._name, self._watch = path.name, watch
        with ExitStack() as owned:
            self._model = llama.load_model(path)
            owned.callback(self._api.llama_model_free, self._model)
            if self._api.llama_model_has_encoder(self._model):
                raise ToolError(f"{path.name} has an encoder, and so is no model that continues texts")
            self.trained_context = int(self._api.llama_model_n_ctx_train(self._model))
            self._vocabulary = self._api.llama_model_get_vocab(self._model)
            self.vocabulary = int(self._api.llama_vocab_n_tokens(self._vocabulary))
            self._block = max(1, min(_BATCH, _BLOCK // (4 * self.vocabulary)))
            self._adapter = None if adapter is None else self._load_adapter(adapter)
            self._batch = llama.new_batch(_BATCH)
            owned.callback(self._api.llama_batch_free, self._batch)
            self._suppressed = self._find_suppressed()
            self._began = owned.enter_context(ExitStack())  # what is there for each context
            self._turn = 0
            self._make_room(context, sequences)
            self._owned: ExitStack | None = owned.pop_all()

    def make_room(self, context: int, sequences: int) -> None:
        """Have room for as many texts and tokens from now on; what was read is forgotten, and the weights stay. Raises
        ToolError where there is no memory for it: then the model is closed."""
        self._begin_anew()
        try:
            self._make_room(context, sequences)
        except ToolError:
            self.close()
            raise

    def _make_room(self, context: int, sequences: int) -> None:
        self._began.close()
        self._room, self._sequences = context, sequences
        self._context = self._begin()
        self._began.callback(self._api.llama_free, self._context)
        if self._adapter is not None:
            self._apply(self._adapter)
        memory = self._api.llama_get_memory(self._context)
        if not memory:
            raise ToolError(f"{self._name} does not remember what it has read, and so does not continue texts")
        self._memory = LlamaMemory(self._api, memory, sequences)

    def _begin(self) -> int:
        parameters = llama.context_parameters()
        parameters.n_ctx = self._room
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.n_seq_max = self._sequences
        # Room in the graph; all of a batch would be half a gigabyte of a vocabulary of 262,144.
        parameters.n_outputs_max = max(self._block, self._sequences)
        parameters.n_threads = parameters.n_threads_batch = cores()
        parameters.offload_kqv = parameters.op_offload = False
        parameters.swa_full = False  # of a sliding window, only what is still seen
        parameters.cb_eval = self._watch
        parameters.kv_unified = True  # else texts are computed apart as soon as one in their middle has ended
        context = self._api.llama_init_from_model(self._model, parameters)
        if not context:
            what = f"{self._room} tokens of {self._sequences} texts with {self._name}"
            raise llama.failure(f"llama.cpp has no room for {what}")
        return int(context)

    def _load_adapter(self, path: Path) -> int:
        """An adapter, which is freed with the model."""
        adapter = self._api.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not adapter:
            raise llama.failure(f"llama.cpp cannot load the adapter {path.name}", remedy="export it anew")
        return int(adapter)

    def _apply(self, adapter: int) -> None:
        """Have an adapter applied, as it was trained."""
        if self._api.llama_set_adapters_lora(self._context, (c_void_p * 1)(adapter), 1, (c_float * 1)(1.0)):
            raise llama.failure(f"llama.cpp cannot apply the adapter to {self._name}")

    def close(self) -> None:
        """Let go of the model and of all memory."""
        if self._owned:
            self._turn += 1
            self._owned.close()
            self._owned = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # Logits

    def compute(self, ids: Sequence[int]) -> None:
        """Compute all of a text for whoever watches, also what nothing but logits is made of. Raises as `rows`."""
        self._check_length(len(ids))
        self._begin_anew()
        self._memory.forget()
        for part in self._batches([_Input(token, at, 0, True) for at, token in enumerate(ids)]):
            self._compute(part)

    def rows(self, texts: Sequence[tuple[Sequence[int], int]]) -> Iterator[Array]:
        """Of each text `ids` the logits of the next token after `ids[:since]`, after `ids[:since + 1]`, and so on to
        all of it, in blocks (rows, vocabulary) of at most 80 MiB, or of one row. Texts are computed together, as many
        as there is room for, so that weights are read once for all of them.

        Raises ReleaseError when a text is longer than the context, ToolError when llama.cpp does not compute it. All
        blocks have to be taken before the model is asked anything else.
        """
        for ids, since in texts:
            if not 0 < since <= len(ids):
                raise ValueError(f"nothing follows {since} of {len(ids)} tokens")
            self._check_length(len(ids))
        return self._rows(texts)

    def _rows(self, texts: Sequence[tuple[Sequence[int], int]]) -> Iterator[Array]:
        for together in self._together(texts):
            turn = self._begin_anew()
            self._memory.forget()
            inputs = [
                _Input(token, at, sequence, at >= since - 1)
                for sequence, (ids, since) in enumerate(together)
                for at, token in enumerate(ids)
            ]
            for part in self._batches(inputs):
                if turn != self._turn:
                    raise RuntimeError("the model was closed or asked something else before all rows were taken")
                self._compute(part)
                if rows := [self._logits(index) for index, given in enumerate(part) if given.asked]:
                    yield np.stack(rows)

    def _together(
        self, texts: Sequence[tuple[Sequence[int], int]], more: int = 0
    ) -> Iterator[Sequence[tuple[Sequence[int], int]]]:
        """Texts, in their order, as many as there is room for at once where each gets so many tokens more."""
        some: list[tuple[Sequence[int], int]] = []
        for text in texts:
            needed = sum(len(ids) + more for ids, _ in (*some, text))
            if some and (len(some) == self._sequences or needed > self._room):
                yield some
                some = []
            some.append(text)
        if some:
            yield some

    def _batches(self, inputs: Sequence[_Input]) -> Iterator[Sequence[_Input]]:
        """Tokens, in their order, as many as are computed at once, of which no more are asked for than logits may
        take."""
        start = asked = 0
        for at, given in enumerate(inputs):
            if at - start == _BATCH or asked + given.asked > self._block:
                yield inputs[start:at]
                start, asked = at, 0
            asked += given.asked
        yield inputs[start:]

    def generate(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """The greedy continuations of prompts: at most `most` tokens, with the one that ends an answer. As many as
        there are sequences are computed together, so that weights are read once for all of them; what begins as a text
        of the call before is computed from there. Raises as `rows`."""
        for prompt in prompts:
            if not prompt:
                raise ReleaseError("a prompt without a token cannot be continued")
            self._check_length(len(prompt) + most)
        together = self._together([(prompt, 0) for prompt in prompts], more=most)
        return [answer for some in together for answer in self._continuations([prompt for prompt, _ in some], most)]

    def _continuations(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        self._begin_anew()
        places = self._memory.places(prompts)
        answers: dict[int, list[int]] = {sequence: [] for sequence, _ in places}
        due = [
            _Input(token, at, sequence, at == len(prompt) - 1)
            for (sequence, known), prompt in zip(places, prompts, strict=True)
            for at, token in enumerate(prompt[known:], known)
        ]
        while due and most:
            found = [pair for part in _parts(due, _BATCH) for pair in self._next(part)]
            due = []
            for last, token in found:
                answer = answers[last.sequence]
                answer.append(token)
                if len(answer) < most and not self.ends(token):
                    due.append(_Input(token, last.position + 1, last.sequence, True))
        return [answers[sequence] for sequence, _ in places]

    def _next(self, inputs: Sequence[_Input]) -> list[tuple[_Input, int]]:
        """The likeliest token after each that is asked for."""
        self._compute(inputs)
        return [(given, self._likeliest(index)) for index, given in enumerate(inputs) if given.asked]

    def _likeliest(self, index: int) -> int:
        logits = self._logits(index)
        if self._suppressed:
            logits = logits.copy()
            logits[self._suppressed] = -np.inf
        return int(logits.argmax())

    def _find_suppressed(self) -> list[int]:
        """Tokens that a GGUF lets no answer have: llama-server obeys."""
        count = c_int32()
        found = self._api.llama_vocab_get_suppress_tokens(self._vocabulary, byref(count))
        return list(found[: count.value]) if count.value else []

    def _check_length(self, tokens: int) -> None:
        if tokens > self._room:
            raise ReleaseError(
                f"a text of {tokens} tokens does not fit into the {self._room} that llama.cpp has room for",
                remedy="ask with shorter prompts, or for fewer tokens",
            )

    def _begin_anew(self) -> int:
        """The number of what is asked for now: what was asked for before and is not finished ends there."""
        if not self._owned:
            raise RuntimeError("the model is closed")
        self._turn += 1
        return self._turn

    def _compute(self, inputs: Sequence[_Input]) -> None:
        batch = self._batch
        batch.n_tokens = len(inputs)
        for index, given in enumerate(inputs):
            batch.token[index], batch.pos[index], batch.logits[index] = given.token, given.position, given.asked
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, given.sequence
        llama.silence()
        if status := self._api.llama_decode(self._context, batch):
            self._memory.forget()
            raise llama.failure(f"llama.cpp cannot compute {len(inputs)} tokens (status {status})")
        for given in inputs:
            self._memory.add(given.sequence, given.token)

    def _logits(self, index: int) -> Array:
        """Those after a token of what was computed last, in llama.cpp's own memory."""
        return np.ctypeslib.as_array(self._api.llama_get_logits_ith(self._context, index), (self.vocabulary,))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
