"""A model's own chat template, in Jinja: what it makes of conversations, and what it knows beside plain text."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.verify.conversations import (
    CALLED,
    CONVERSATIONS,
    QUESTION,
    THOUGHT,
    THOUGHT_AND_CALLED,
    THOUGHT_OF,
    THOUGHTS_SAID,
    TOOLS_GIVEN,
    USER,
    WEATHER,
    Conversation,
)
from tagship.verify.rendering import render_chat

_HALF_A_YEAR = timedelta(days=183)
_UNCHOSEN = Conversation(name="thinking where nobody chose", messages=QUESTION.messages)
# What the runtime has to make prompts of as the template does.
ASKED = (*CONVERSATIONS, _UNCHOSEN)


class OwnTemplate:
    """A tokenizer's chat template at a moment (None: now).

    `add_bos` is whether the token that begins a text is left to the runtime: where the tokenizer puts it before any
    text, and the template does too. What is rendered lacks it then. Raises ReleaseError when not even a user's message
    is rendered.
    """

    def __init__(self, tokenizer: Any, moment: datetime | None) -> None:
        self.tokenizer, self._moment = tokenizer, moment
        self.add_bos = False
        try:
            first = self.render([{"role": USER, "content": "a"}])
        except ValueError as error:
            raise ReleaseError(
                f"the model's chat template does not render a user's message: {error}",
                remedy="mend chat_template.jinja in the run's folder, or leave the ollama format out",
            ) from None
        beginning = tokenizer.bos_token or ""
        puts = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        self.add_bos = bool(beginning) and first.startswith(beginning) and puts

    def render(self, messages: Sequence[Mapping[str, Any]], moment: datetime | None = None, **more: Any) -> str:
        """Messages up to where the model goes on; `more` is as render_chat takes it. Raises ValueError when the
        template refuses them."""
        try:
            text = render_chat(self.tokenizer, messages, moment or self._moment, **more)
        except (TimeoutError, MemoryError) as error:  # no refusal, and nobody could use it
            raise ReleaseError(
                f"the model's chat template does not end, or makes gigabytes: {str(error) or 'out of memory'}",
                remedy="mend chat_template.jinja in the run's folder, or leave the ollama format out",
            ) from None
        except Exception as error:  # whatever a template makes Jinja raise
            raise ValueError(str(error) or type(error).__name__) from error
        return text.removeprefix(self.tokenizer.bos_token) if self.add_bos else text

    def carried(self) -> list[str]:
        """What the template knows beside messages of text, by name."""
        found = {
            "tools": self._said(TOOLS_GIVEN) not in (None, self._said(QUESTION)),
            "tool calls": WEATHER["function"]["name"] in (self._said(CALLED, offered=False) or ""),
            "thinking": self._thinks(),
            "the date": self._said(QUESTION) != self._said(QUESTION, (self._moment or datetime.now()) + _HALF_A_YEAR),
        }
        return [name for name, carries in found.items() if carries]

    def _thinks(self) -> bool:
        """Whether thoughts are said that stand beside an answer, left out of one, or turned on and off."""
        if any(THOUGHT in (self._said(talk) or "") for talk in (THOUGHT_OF, THOUGHT_AND_CALLED)):
            return True
        kept = [self._said(talk) for talk in THOUGHTS_SAID]
        chosen = {self._said(QUESTION, variables={"enable_thinking": choice}) for choice in (True, False)}
        return any(text is not None and THOUGHT not in text for text in kept) or len(chosen) > 1

    def said(self) -> tuple[str | None, ...]:
        """What llama.cpp has to make of each of ASKED now, with the variables that it gives to every template."""
        now = datetime.now()
        dates = {"datetime": now.strftime("%b %d %Y"), "date_string": now.strftime("%d %b %Y")}
        chosen = dates | {"enable_thinking": True}
        return tuple(self._said(talk, now, variables=dates if talk is _UNCHOSEN else chosen) for talk in ASKED)

    def _said(
        self,
        talk: Conversation,
        moment: datetime | None = None,
        *,
        offered: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> str | None:
        """What a conversation becomes; None where the template refuses it."""
        tools = talk.tools if offered else ()
        try:
            return self.render(talk.messages, moment, tools=tools, asks=talk.asks, variables=variables)
        except ValueError:
            return None
