"""How a model is talked to: its prompt, its stop tokens and its sampling parameters for Ollama."""

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.formats.gguf_model import space_prefix, swallows
from tagship.formats.ollama.go_template import ChatTemplate, NotDerivable, derive
from tagship.formats.ollama.own_template import ASKED, OwnTemplate
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.verify.conversations import USER, Prompt

# generation_config.json's names, Ollama's, and what they are there.
_PARAMETERS: dict[str, tuple[str, type[int] | type[float]]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "min_p": ("min_p", float),
    "repetition_penalty": ("repeat_penalty", float),
    "max_new_tokens": ("num_predict", int),
}
_PLAIN = "{{ .Prompt }}"


class Chat(Struct, frozen=True, kw_only=True):
    """`go` is the template in Go's language, None where only the GGUF's own says all that the model knows. `note` is
    what people are to know of it. `parameters` are Ollama's.

    `add_bos` is whether the runtime is to put the token that begins a text before the prompt:
    where the tokenizer does so with any text, and the chat template does too, which then leaves it
    to the runtime. None where there is no chat template and the tokenizer's own habit stays.
    `space_prefix` is whether the tokenizer puts a space before a text; None where it spells spaces
    otherwise than SentencePiece. `swallows` is whether special tokens take the white space after them. `jinja` is the
    model's own chat template; None where it has none, or several. `rendered` are the prompts that were asked for, and
    `said` is what llama.cpp has to make of each of `own_template.ASKED`, None where the template refuses it; nothing
    where there is no template.
    """

    go: str | None
    note: str | None = None
    parameters: dict[str, Any]
    add_bos: bool | None
    space_prefix: bool | None
    swallows: bool
    jinja: str | None = None
    rendered: Sequence[str] = ()
    said: Sequence[str | None] = ()

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What llama.cpp has to make of conversations."""
        return tuple(Prompt(conversation=talk, text=text) for talk, text in zip(ASKED, self.said, strict=False))


def load_chat(
    model: Path, by_hand: str | None, moment: datetime | None = None, asked: Sequence[str] | None = None
) -> Chat:
    """Read how a model is talked to from its tokenizer and generation config.

    `by_hand` is the text of a Go template that replaces the derived one, `moment` the time that a template is told
    which writes one (None: now), `asked` what is to be rendered. Raises ReleaseError when the chat template does not
    render at all, or a parameter is none.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    generation = read_object(model / "generation_config.json", "the base's generation_config.json")
    parameters = _parameters(tokenizer, generation)
    spaced, swallowing = space_prefix(tokenizer), swallows(tokenizer)
    if not tokenizer.chat_template:
        return Chat(
            go=by_hand or _PLAIN,
            parameters=parameters,
            add_bos=None,
            space_prefix=spaced,
            swallows=swallowing,
            rendered=asked or (),
        )
    template = OwnTemplate(tokenizer, moment)
    derived, left_out = (None, None) if by_hand else _derived(template)
    note: str | None
    if by_hand:
        note = "its template was written by hand, and nothing here compares it with the model's own"
    else:
        note = f"Ollama takes the template in the GGUF: {left_out}" if left_out else None
    render = derived.render if derived else template.render
    return Chat(
        go=derived.go() if derived else by_hand,
        note=note,
        parameters=parameters,
        add_bos=template.add_bos,
        space_prefix=spaced,
        swallows=swallowing,
        jinja=tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None,
        rendered=[render([{"role": USER, "content": text}]) for text in asked or ()],
        said=() if asked is None else template.said(),
    )


def _derived(template: OwnTemplate) -> tuple[ChatTemplate | None, str | None]:
    """The template in a form that Go's language can say; else None, and why there is none."""
    if carried := template.carried():
        return None, f"the model's own chat template knows {', '.join(carried)}"
    try:
        return derive(template.render, list(template.tokenizer.get_added_vocab())), None
    except NotDerivable as error:
        return None, f"the model's own chat template does more than put text around messages: {error}"


def _parameters(tokenizer: Any, generation: dict[str, Any]) -> dict[str, Any]:
    ends = generation.get("eos_token_id", [])
    ids = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
    if any(not isinstance(token, int | None) for token in ids):
        raise _no_number("eos_token_id", ends, "the id of a token, or a list of ids")
    # Some configurations have ids of no token, -1 for none among them.
    known = [token for token in dict.fromkeys(ids) if token is not None and 0 <= token < len(tokenizer)]
    stops = [token for token in tokenizer.convert_ids_to_tokens(known) if token]
    sampling = {
        theirs: _number(ours, generation[ours], kind)
        for ours, (theirs, kind) in _PARAMETERS.items()
        if generation.get(ours) is not None
    }
    if generation.get("do_sample") is False:
        sampling["temperature"] = 0
    return {"stop": stops, **sampling}


def _number(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _no_number(name, value, "a number")
    if kind is int and value != int(value):
        raise _no_number(name, value, "a whole number")
    return int(value) if kind is int else value


def _no_number(name: str, value: Any, wanted: str) -> ReleaseError:
    return ReleaseError(
        f"generation_config.json has {name} = {value!r:.80}, and it must be {wanted}",
        remedy="correct it in the run's generation_config.json, which is used before the base's",
    )
