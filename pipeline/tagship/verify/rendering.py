"""Conversations as a model's own chat template makes prompts of them, at the one time of a release."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any


def render_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], moment: datetime | None) -> str:
    """A conversation up to where the model goes on; `moment` is the time that a template is told which writes one
    (None: now). Raises what the template does."""
    with _clock(moment):
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))


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
