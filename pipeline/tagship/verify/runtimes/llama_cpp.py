"""llama.cpp, which is what runs GGUFs in Ollama.

It takes prompts as the Modelfile's template makes them, without the token that begins a text: whether there is one is
the GGUF's to say. Of conversations it makes prompts by the GGUF's own template, with its own reading of Jinja.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tagship.gguf.first_layer import write_first_layer
from tagship.system.errors import ReleaseError
from tagship.system.files import scratch_folder
from tagship.system.installation import how_to_install
from tagship.system.pool import cores
from tagship.verify.conversations import Conversation, Message
from tagship.verify.questions import Asked, Questions, Tokens
from tagship.verify.runtimes.llama_api import LlamaModel
from tagship.verify.runtimes.llama_functions import LOAD_MODE_MMAP
from tagship.verify.runtimes.llama_text import LlamaVocabulary
from tagship.verify.runtimes.protocol import Model, Runtime, Subject

# Answers that are written at a time: each takes keys and values for itself.
_TOGETHER = 8
# Seconds for one prompt of a template: the machine may be busy.
_RENDERING = 60
# Tokens, for a model that is not asked anything; and what texts share that are computed together, so many of them.
_LEAST_CONTEXT = 64
_SHARED_CONTEXT, _MOST_TEXTS = 1024, 32
# Answers grow: room is made for a multiple of so many tokens, as with more of it the model begins anew.
_MORE_CONTEXT = 512


class _LlamaCpp(Runtime):
    name = "llama_cpp"
    # The library, keys and values, and logits; weights are mapped.
    memory = 1 << 30
    modules = ("xllamacpp",)
    install = how_to_install("gguf")
    generates = True

    def load(self, subject: Subject) -> Model:
        return _LlamaCppModel(subject)

    def prompts(self, subject: Subject, conversations: tuple[Conversation, ...]) -> tuple[str | None, ...]:
        try:
            server = _serve_template(subject.model)
        except RuntimeError as error:  # it runs without the template: it has answered before
            raise ReleaseError(
                f"llama.cpp cannot read the chat template in {subject.what}, and so would not serve it",
                remedy="it knows less of Jinja than transformers: simplify chat_template.jinja in the run's folder, or "
                "leave the format out",
            ) from error
        return tuple(map(server.prompt, conversations))


RUNTIME = _LlamaCpp()


class _LlamaCppModel(Model):
    """A GGUF, with as much context as was needed so far. Its weights are read from the disk when the first text is
    computed: what is computed elsewhere until then drops them from a small memory."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._vocabulary = LlamaVocabulary(subject.model)
        self._model: LlamaModel | None = None
        self._room = (0, 0)

    def read(self, questions: Questions) -> tuple[Asked, ...]:
        return tuple(Asked(prompt=text, ids=tuple(self._vocabulary.tokens(text))) for text in self._subject.rendered)

    def rows(self, sequences: Sequence[Tokens]) -> Iterator[Any]:
        asked = [(sequence.ids[:-1], sequence.since) for sequence in sequences if sequence.looked_at]
        tokens = [len(ids) for ids, _ in asked]
        room = max(min(sum(tokens), _SHARED_CONTEXT), *tokens, 1)
        yield from self._with_room(room, min(len(asked), _MOST_TEXTS) or 1).rows(asked)

    def ends(self, tokens: Collection[int]) -> Collection[int]:
        return {token for token in tokens if self._vocabulary.ends(token)}

    def text(self, ids: Sequence[int]) -> str:
        return self._vocabulary.text(ids)

    def generate(self, prompts: Sequence[Sequence[int]], most: int) -> Sequence[Sequence[int]]:
        together = min(len(prompts), _TOGETHER)
        needed = together * (max(map(len, prompts)) + most)
        room = -(-needed // _MORE_CONTEXT) * _MORE_CONTEXT
        return self._with_room(room, together).generate(prompts, most)

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
        self._vocabulary.close()

    def _with_room(self, context: int, sequences: int) -> LlamaModel:
        room = (max(context, self._room[0]), max(sequences, self._room[1]))
        if self._model is None:
            self._model = LlamaModel(
                self._subject.model, context=room[0], sequences=room[1], adapter=self._subject.adapter
            )
        elif room != self._room:
            self._model.make_room(*room)
        self._room = room
        return self._model


def _serve_template(model: Path) -> "_Server":
    """A server with the chat template of a GGUF. It computes a little when it is loaded, which would read all weights
    from the disk: one layer of zeros does, wherever it can be written, and llama.cpp takes it for a model. Raises
    RuntimeError where it does not serve the GGUF itself."""
    with scratch_folder("tagship-template") as folder, suppress(RuntimeError, OSError):
        if write_first_layer(model, folder / model.name):
            return _Server(folder / model.name, context=_LEAST_CONTEXT, own_template=True)
    return _Server(model, context=_LEAST_CONTEXT, own_template=True)


class _Server:
    """llama.cpp's own server, in this process, on a free port of the loopback interface."""

    def __init__(self, model: Path, context: int, *, own_template: bool = False) -> None:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(model)
        parameters.n_ctx = context
        parameters.n_parallel = 1
        parameters.n_gpu_layers = 0
        parameters.warmup = False
        parameters.use_jinja = own_template
        # Weights stay where they are mapped: it would hold a copy of some, packed anew, and computes nothing here.
        parameters.load_mode, parameters.no_extra_bufts = LOAD_MODE_MMAP, True
        parameters.cpuparams.n_threads = cores()
        self._server = xllamacpp.Server(parameters)

    def post(self, path: str, document: dict[str, Any], seconds: float | None = None) -> Any:
        request = urllib.request.Request(
            self._server.listening_address + path,
            data=json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return json.load(response)

    def prompt(self, talk: Conversation) -> str | None:
        """What a conversation becomes; None where it is refused."""
        document: dict[str, Any] = {"messages": list(map(_as_sent, talk.messages)), "add_generation_prompt": talk.asks}
        if talk.tools:
            document["tools"] = talk.tools
        try:
            return str(self.post("/apply-template", document, _RENDERING)["prompt"])
        except urllib.error.HTTPError:
            return None
        except TimeoutError:
            raise ReleaseError(
                f"llama.cpp takes longer than {_RENDERING} seconds to render the chat template for {talk.name}",
                remedy="simplify chat_template.jinja in the run's folder, or leave the format out",
            ) from None


def _as_sent(message: Message) -> Message:
    """A message as clients send it: with the arguments of a call as text."""
    if not (calls := message.get("tool_calls")):
        return message
    functions = [call["function"] | {"arguments": json.dumps(call["function"]["arguments"])} for call in calls]
    return {
        **message,
        "tool_calls": [call | {"function": function} for call, function in zip(calls, functions, strict=True)],
    }
