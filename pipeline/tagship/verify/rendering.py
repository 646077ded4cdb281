"""Conversations as a model's own chat template makes prompts of them, at the one time of a release."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tagship.system.limits import bounded
from tagship.verify.conversations import ASSISTANT
from tagship.verify.measured_text import Passage

# A template is a program out of a model's folder. A large one takes a few milliseconds.
_SECONDS = 10
_MEMORY = 1 << 30
# A prompt that is longer takes a tokenizer minutes.
_LONGEST = 1 << 22
# For templates that write a date: the same text is measured whenever it is.
_LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


def render_chat(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    moment: datetime | None,
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    asks: bool = True,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """A conversation up to where the model goes on, which is within the last message if that is the model's; without
    `asks`, up to the end of the last message.

    `moment` is the time that a template is told which writes one (None: now), `variables` are what else it is told.
    Raises what the template does, TimeoutError, MemoryError or ValueError for one that never ends or makes gigabytes.
    """
    goes_on = bool(messages) and messages[-1]["role"] == ASSISTANT
    with _clock(moment), bounded(_SECONDS, _MEMORY):
        text = tokenizer.apply_chat_template(
            list(messages),
            tools=list(tools) or None,
            tokenize=False,
            add_generation_prompt=asks and not goes_on,
            continue_final_message=asks and goes_on,
            **(variables or {}),
        )
    if len(text) > _LONGEST:
        raise ValueError(f"it makes a prompt of {len(text):,} characters of a short conversation")
    return str(text)


def render_passage(tokenizer: Any, passage: Passage) -> str | None:
    """A conversation as the model's own chat template has it; None for plain text, and where there is no template or it
    does not take the conversation."""
    if not passage.messages or not tokenizer.chat_template:
        return None
    try:
        return render_chat(tokenizer, passage.messages, _LONG_AGO, asks=False)
    except Exception:  # noqa: BLE001  (of roles or orders that the template refuses)
        return None


def spell_passage(tokenizer: Any, passage: Passage) -> list[int]:
    """A passage in tokens: a conversation as the chat template has it, where it takes it."""
    rendered = render_passage(tokenizer, passage)
    if rendered is not None:
        return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])
    return list(tokenizer(passage.plain)["input_ids"])


@contextmanager
def _clock(moment: datetime | None) -> Iterator[None]:
    """Has transformers' `strftime_now` tell a time. What templates are given is stripped of functions, so that the
    clock which it asks is the only place to say it."""
    from transformers.utils import chat_template_utils as asks

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment if moment else datetime.now(tz)

    before = asks.datetime
    asks.datetime = Clock
    try:
        yield
    finally:
        asks.datetime = before
