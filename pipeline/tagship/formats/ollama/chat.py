"""How a model is talked to: its prompt, its stop tokens and its sampling parameters for Ollama."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagship.formats.ollama.go_template import USER, Message, derive
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """`go` is the template in Go's language, `parameters` are Ollama's.

    `add_bos` is whether the runtime is to put the token that begins a text before the prompt:
    whether the chat template does, which then leaves it to the runtime. None where there is no
    chat template and the tokenizer's own habit stays.
    """

    go: str
    parameters: dict[str, Any]
    add_bos: bool | None
    prompt: Callable[[str], str]


def load_chat(model: Path, by_hand: str | None) -> Chat:
    """Read how a model is talked to from its tokenizer and generation config.

    `by_hand` is the text of a Go template that replaces the derived one. Raises ReleaseError when
    the chat template cannot be put into Ollama's language, or does not render at all.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    generation = read_object(model / "generation_config.json", "the base's generation_config.json")
    parameters = _parameters(tokenizer, generation)
    if not tokenizer.chat_template:
        return Chat(go=by_hand or _PLAIN, parameters=parameters, add_bos=None, prompt=lambda text: text)
    beginning, first = tokenizer.bos_token or "", _first_prompt(tokenizer)
    add_bos = bool(beginning) and first.startswith(beginning)

    def render(messages: Sequence[Message]) -> str:
        text = _jinja(tokenizer, messages)
        return text.removeprefix(beginning) if add_bos else text

    if by_hand:
        return Chat(go=by_hand, parameters=parameters, add_bos=add_bos, prompt=lambda text: render([_message(text)]))
    template = derive(render, list(tokenizer.get_added_vocab()))
    return Chat(
        go=template.go(),
        parameters=parameters,
        add_bos=add_bos,
        prompt=lambda text: template.render([_message(text)]),
    )


def _message(text: str) -> Message:
    return {"role": USER, "content": text}


def _jinja(tokenizer: Any, messages: Sequence[Message]) -> str:
    """A conversation by the model's own template. Raises ValueError when the template refuses it."""
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
    except Exception as error:
        raise ValueError(str(error)) from error


def _first_prompt(tokenizer: Any) -> str:
    try:
        return _jinja(tokenizer, [_message("a")])
    except ValueError as error:
        raise ReleaseError(f"the model's chat template does not render a user's message: {error}") from None


def _parameters(tokenizer: Any, generation: dict[str, Any]) -> dict[str, Any]:
    ends = generation.get("eos_token_id", [])
    ids = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
    stops = [tokenizer.convert_ids_to_tokens(token) for token in dict.fromkeys(ids) if token is not None]
    sampling = {theirs: generation[ours] for ours, theirs in _PARAMETERS.items() if generation.get(ours) is not None}
    if generation.get("do_sample") is False:
        sampling["temperature"] = 0
    return {"stop": stops, **sampling}
