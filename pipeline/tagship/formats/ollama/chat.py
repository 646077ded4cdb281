"""How a model is talked to: its prompt, its stop tokens and its sampling parameters for Ollama."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tagship.formats.ollama.go_template import USER, Message, derive
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.verify.rendering import render_chat

# generation_config.json's names, and Ollama's.
_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "max_new_tokens": "num_predict",
}
_PLAIN = "{{ .Prompt }}"
# How SentencePiece spells a space.
_SPACE = "\u2581"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """`go` is the template in Go's language, `parameters` are Ollama's.

    `add_bos` is whether the runtime is to put the token that begins a text before the prompt:
    where the tokenizer does so with any text, and the chat template does too, which then leaves it
    to the runtime. None where there is no chat template and the tokenizer's own habit stays.
    `space_prefix` is whether the tokenizer puts a space before a text; None where it spells spaces
    otherwise than SentencePiece.
    """

    go: str
    parameters: dict[str, Any]
    add_bos: bool | None
    space_prefix: bool | None
    prompt: Callable[[str], str]


def load_chat(model: Path, by_hand: str | None, moment: datetime | None = None) -> Chat:
    """Read how a model is talked to from its tokenizer and generation config.

    `by_hand` is the text of a Go template that replaces the derived one, `moment` the time that a template is told
    which writes one (None: now). Raises ReleaseError when
    the chat template cannot be put into Ollama's language, or does not render at all.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    generation = read_object(model / "generation_config.json", "the base's generation_config.json")
    parameters = _parameters(tokenizer, generation)
    space_prefix = _space_prefix(tokenizer)
    if not tokenizer.chat_template:
        return Chat(
            go=by_hand or _PLAIN,
            parameters=parameters,
            add_bos=None,
            space_prefix=space_prefix,
            prompt=lambda text: text,
        )
    beginning, first = tokenizer.bos_token or "", _first_prompt(tokenizer, moment)
    add_bos = bool(beginning) and first.startswith(beginning) and _adds_bos(tokenizer)

    def render(messages: Sequence[Message]) -> str:
        text = _jinja(tokenizer, messages, moment)
        return text.removeprefix(beginning) if add_bos else text

    template = None if by_hand else derive(render, list(tokenizer.get_added_vocab()))
    prompt = template.render if template else render
    return Chat(
        go=template.go() if template else str(by_hand),
        parameters=parameters,
        add_bos=add_bos,
        space_prefix=space_prefix,
        prompt=lambda text: prompt([_message(text)]),
    )


def _adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer itself puts the token that begins a text before one."""
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])


def _space_prefix(tokenizer: Any) -> bool | None:
    vocabulary = tokenizer.get_vocab()
    if not any(piece.startswith(_SPACE) and piece != _SPACE for piece in vocabulary):
        return None
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])
    return bool(pieces and pieces[0].startswith(_SPACE))


def _message(text: str) -> Message:
    return {"role": USER, "content": text}


def _jinja(tokenizer: Any, messages: Sequence[Message], moment: datetime | None) -> str:
    """A conversation by the model's own template. Raises ValueError when the template refuses it."""
    try:
        return render_chat(tokenizer, messages, moment)
    except Exception as error:
        raise ValueError(str(error)) from error


def _first_prompt(tokenizer: Any, moment: datetime | None) -> str:
    try:
        return _jinja(tokenizer, [_message("a")], moment)
    except ValueError as error:
        raise ReleaseError(f"the model's chat template does not render a user's message: {error}") from None


def _parameters(tokenizer: Any, generation: dict[str, Any]) -> dict[str, Any]:
    ends = generation.get("eos_token_id", [])
    ids = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
    tokens = tokenizer.convert_ids_to_tokens([token for token in dict.fromkeys(ids) if token is not None])
    stops = [token for token in tokens if token]  # some configurations have ids of no token
    sampling = {theirs: generation[ours] for ours, theirs in _PARAMETERS.items() if generation.get(ours) is not None}
    if generation.get("do_sample") is False:
        sampling["temperature"] = 0
    return {"stop": stops, **sampling}
