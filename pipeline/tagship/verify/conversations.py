"""Conversations as clients hold them with a model: what a chat template has to make prompts of.

Messages and tools are as OpenAI's API has them, which transformers, vLLM and llama.cpp take.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

Message = Mapping[str, Any]

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"


class Conversation(Struct, frozen=True, kw_only=True):
    """`name` says what it shows. `tools` are those that the model is offered; `asks` is whether the prompt ends where
    the model is to answer. `plain` is whether it is text alone, as every client sends it."""

    name: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    asks: bool = True
    plain: bool = False


class Prompt(Struct, frozen=True, kw_only=True):
    """A conversation, and the text that the model's own template makes of it; None where it refuses it."""

    conversation: Conversation
    text: str | None


WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where"}},
            "required": ["city"],
        },
    },
}
THOUGHT = "I should look out of the window."

_BRIEF = {"role": SYSTEM, "content": "Be brief."}
_QUESTION = {"role": USER, "content": "What is it?\nTell me."}
_ANSWER = {"role": ASSISTANT, "content": "It is {this}."}
_MORE = {"role": USER, "content": "And in Paris?"}
_THOUGHTFUL = {"role": ASSISTANT, "content": "It rains.", "reasoning_content": THOUGHT}
# Nine letters: Mistral's templates refuse other identifiers.
_CALL = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
_CALLING = {"role": ASSISTANT, "content": "", "tool_calls": [_CALL]}
_RESULT = {"role": TOOL, "tool_call_id": "call00001", "name": "get_weather", "content": "It rains."}

QUESTION = Conversation(name="a question", messages=(_QUESTION,), plain=True)
TOOLS_GIVEN = Conversation(name="tools that are offered", messages=(_QUESTION,), tools=(WEATHER,))
CALLED = Conversation(name="results of tools", messages=(_MORE, _CALLING, _RESULT), tools=(WEATHER,))
THOUGHT_OF = Conversation(name="thinking in earlier turns", messages=(_QUESTION, _THOUGHTFUL, _MORE))
# How models mark what they think, in the text of their answers.
_MARKS = (
    *(
        ("<think>", "</think>"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<reasoning>", "</reasoning>"),
    ),
    *(("<thought>", "</thought>"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("<thinking>", "</thinking>")),
)
THOUGHTS_SAID = tuple(
    Conversation(
        name="thinking in the text of earlier turns",
        messages=(_QUESTION, _ANSWER | {"content": f"{begins}\n{THOUGHT}\n{ends}\n\nIt rains."}, _MORE),
    )
    for begins, ends in _MARKS
)
THOUGHT_AND_CALLED = Conversation(
    name="thinking before a call",
    messages=(_MORE, _CALLING | {"reasoning_content": THOUGHT}, _RESULT),
    tools=(WEATHER,),
)
CONVERSATIONS = (
    QUESTION,
    Conversation(name="a system message", messages=(_BRIEF, _QUESTION), plain=True),
    Conversation(name="several turns", messages=(_QUESTION, _ANSWER, _MORE), plain=True),
    Conversation(
        name="several turns after a system message",
        messages=(_BRIEF, _QUESTION, _ANSWER, _MORE, _ANSWER, _QUESTION),
        plain=True,
    ),
    Conversation(name="a conversation without the beginning of an answer", messages=(_BRIEF, _QUESTION), asks=False),
    TOOLS_GIVEN,
    Conversation(name="tools after a system message", messages=(_BRIEF, _QUESTION), tools=(WEATHER,)),
    CALLED,
    Conversation(
        name="turns after results of tools",
        messages=(_BRIEF, _MORE, _CALLING, _RESULT, _ANSWER, _QUESTION),
        tools=(WEATHER,),
    ),
    THOUGHT_OF,
    THOUGHT_AND_CALLED,
)
