"""llama.cpp, which is what runs GGUFs in Ollama.

It takes prompts as the Modelfile's template makes them, without the token that begins a text: whether there is one is
the GGUF's to say. Of conversations it makes prompts by the GGUF's own template, with its own reading of Jinja.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tagship.system.errors import ReleaseError
from tagship.system.installation import how_to_install
from tagship.system.pool import cores
from tagship.verify.conversations import Conversation, Message
from tagship.verify.questions import Answer, Answers, Questions
from tagship.verify.runtimes.protocol import Runtime, Subject

# Log-probabilities asked for at each token: all of a small vocabulary, nearly all of the mass of a
# large one.
_TOP = 2048
# Seconds for one prompt of a template: the machine may be busy.
_RENDERING = 60
# Tokens, for a model that is not asked anything.
_LEAST_CONTEXT = 64
_Distribution = dict[int, float]


class _LlamaCpp(Runtime):
    name = "llama_cpp"
    # The weights are mapped, as by transformers, which the reference needs in any case.
    memory = 3 << 29
    modules = ("xllamacpp",)
    install = how_to_install("gguf")

    def answer(self, subject: Subject, questions: Questions) -> Answers:
        longest = max(len(prompt.encode()) for prompt in subject.rendered)  # a token is at least a byte
        server = _Server(subject.model, context=longest + 2 * questions.max_tokens + 16)
        return tuple(
            _answer(server, prompt, forced, questions.max_tokens)
            for prompt, forced in zip(subject.rendered, questions.forced, strict=True)
        )

    def prompts(self, subject: Subject, conversations: tuple[Conversation, ...]) -> tuple[str | None, ...]:
        try:
            server = _Server(subject.model, context=_LEAST_CONTEXT, own_template=True)
        except RuntimeError as error:  # it runs without the template: it has answered before
            raise ReleaseError(
                f"llama.cpp cannot read the chat template in {subject.what}, and so would not serve it",
                remedy="it knows less of Jinja than transformers: simplify chat_template.jinja in the run's folder, or "
                "leave the format out",
            ) from error
        return tuple(map(server.prompt, conversations))


RUNTIME = _LlamaCpp()


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
        parameters.cpuparams.n_threads = cores()
        self._server = xllamacpp.Server(parameters)
        self._letter = self.post("/tokenize", {"content": "a"})["tokens"][-1]

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

    def tokens(self, text: str) -> list[int]:
        """A text's tokens, with the one that begins a text where the GGUF asks for it."""
        content = {"content": text, "add_special": True, "parse_special": True}
        return list(self.post("/tokenize", content)["tokens"])

    def generate(self, ids: list[int], most: int) -> tuple[str, list[int], list[_Distribution]]:
        """The greedy continuation: its text, its tokens with the one that ended it, and the
        log-probabilities at each, or none where llama.cpp does not tell all of them."""
        answer = self._complete(ids, most, {"return_tokens": True})
        steps, tokens = answer.get("completion_probabilities", []), list(answer["tokens"])
        # It leaves out tokens that end inside of a character, as bytes of an emoji do.
        whole = [step["id"] for step in steps] == tokens
        return answer["content"], tokens, [_distribution(step) for step in steps] if whole else []

    def after(self, ids: list[int]) -> _Distribution:
        """The log-probabilities of the next token."""
        # Whatever is likely, a whole character is chosen; what is told is how likely each was.
        (step,) = self._complete(ids, 1, {"logit_bias": [[self._letter, 1e6]]})["completion_probabilities"]
        return _distribution(step)

    def _complete(self, ids: list[int], most: int, more: dict[str, Any]) -> Any:
        asked = {"prompt": ids, "n_predict": most, "temperature": 0, "n_probs": _TOP, "cache_prompt": True}
        return self.post("/completion", asked | more)


def _as_sent(message: Message) -> Message:
    """A message as clients send it: with the arguments of a call as text."""
    if not (calls := message.get("tool_calls")):
        return message
    functions = [call["function"] | {"arguments": json.dumps(call["function"]["arguments"])} for call in calls]
    return {
        **message,
        "tool_calls": [call | {"function": function} for call, function in zip(calls, functions, strict=True)],
    }


def _distribution(step: dict[str, Any]) -> _Distribution:
    return {top["id"]: top["logprob"] for top in step["top_logprobs"]}


def _answer(server: _Server, prompt: str, forced: Sequence[int], most: int) -> Answer:
    prompt_ids = server.tokens(prompt)
    text, ids, distributions = server.generate(prompt_ids, most)
    along = [
        # As long as the own answer is the forced one, its distributions are those wanted.
        distributions[position]
        if ids[:position] == list(forced[:position]) and position < len(distributions)
        else server.after([*prompt_ids, *forced[:position]])
        for position in range(len(forced))
    ]
    return Answer(prompt=prompt, prompt_ids=tuple(prompt_ids), ids=tuple(ids), text=text, logprobs=_table(along))


def _table(distributions: list[_Distribution]) -> np.ndarray[Any, np.dtype[np.float32]]:
    columns = 1 + max((token for known in distributions for token in known), default=0)
    table = np.full((len(distributions), columns), -np.inf, np.float32)
    for row, known in enumerate(distributions):
        table[row, list(known)] = list(known.values())
    return table
