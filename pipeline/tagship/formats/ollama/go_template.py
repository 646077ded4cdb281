"""A model's chat template in Go's template language, which Ollama speaks, from its Jinja one.

Templates are programs and cannot be translated in general. Chat templates nearly all say the
same thing, though: what stands before and after each role's message. That is found by rendering
the Jinja template with marked messages, and it is trusted only when it renders a set of
conversations to the very same text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from tagship.system.errors import ReleaseError

Message = dict[str, str]
# Renders messages by the model's own template, with its prompt for the answer at the end.
# Raises ValueError when the template refuses them.
Render = Callable[[Sequence[Message]], str]

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
# Found again in a rendered text; no template has it.
_MARK = "\u2042"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """What stands around messages.

    `asked` begins the answer that is asked for, as `before` begins one that was given.
    `default_system` is said when no system message is given. With `system_in_user`, a system
    message stands inside the first user message, before `after_system`.
    """

    before: dict[str, str]
    after: dict[str, str]
    asked: str
    default_system: str = ""
    system_in_user: bool = False
    after_system: str = ""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for a conversation that ends with a user's message."""
        text = "" if messages[0]["role"] == SYSTEM else self.default_system
        pending = ""
        for message in messages:
            role, content = message["role"], message["content"]
            if role == SYSTEM and self.system_in_user:
                pending = content + self.after_system
            elif role in self.before:
                text += self.before[role] + pending + content + self.after[role]
                pending = ""
        return text + self.asked

    def go(self) -> str:
        """The template in Go's language, over Ollama's `.Messages` and `.System`."""
        default = f"{{{{ if not .System }}}}{_go(self.default_system)}{{{{ end }}}}" if self.default_system else ""
        roles = "".join(self._go_role(number, role) for number, role in enumerate(self._roles()))
        return (
            default
            + "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
            + roles
            + "{{ end }}"
            + f'{{{{ if and $last (ne .Role "{ASSISTANT}") }}}}{_go(self.asked)}{{{{ end }}}}'
            + "{{ end }}"
        )

    def _roles(self) -> list[str]:
        return [role for role in (SYSTEM, USER, ASSISTANT) if role in self.before]

    def _go_role(self, number: int, role: str) -> str:
        folded = ""
        if role == USER and self.system_in_user:
            folded = f"{{{{ if and $.System (lt $i 2) }}}}{{{{ $.System }}}}{_go(self.after_system)}{{{{ end }}}}"
        after = _go(self.after[role])
        if role == ASSISTANT and after:
            after = f"{{{{ if not $last }}}}{after}{{{{ end }}}}"
        opening = "if" if number == 0 else "else if"
        return f'{{{{ {opening} eq .Role "{role}" }}}}' + f"{_go(self.before[role])}{folded}{{{{ .Content }}}}{after}"


def derive(render: Render, special_tokens: Sequence[str]) -> ChatTemplate:
    """Find what stands around messages.

    `special_tokens` are not cut apart where two pieces of text are told from each other. Raises
    ReleaseError when the template does more than that.
    """
    split = re.compile("|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))) or r"(?!)")
    try:
        template = _derive(render, lambda text: _pieces(split, text))
        for messages in _conversations(template):
            expected, got = render(messages), template.render(messages)
            if expected != got:
                raise ValueError(f"{expected!r} would become {got!r}")
    except ValueError as error:
        raise _refused(str(error)) from None
    return template


def _derive(render: Render, pieces: Callable[[str], list[str]]) -> ChatTemplate:
    head, between, again, tail = _around(render, (USER, ASSISTANT, USER))
    # Both `between` and `tail` are what follows a user's message, then what begins an answer.
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(pieces(between), pieces(tail), strict=False))
    after_user = _cut([piece for piece, _ in shared])
    before_assistant, asked = between.removeprefix(after_user), tail.removeprefix(after_user)
    before_user = _common_end(pieces(head), pieces(again))
    default_system = head.removesuffix(before_user)
    after_assistant = again.removesuffix(before_user)
    before = {USER: before_user, ASSISTANT: before_assistant}
    after = {USER: after_user, ASSISTANT: after_assistant}
    plain = ChatTemplate(before=before, after=after, asked=asked, default_system=default_system)
    if not _has_place_for_system(render):
        return plain
    system_head, system_tail, _ = _around(render, (SYSTEM, USER))
    if system_tail.endswith(before_user) and (system_head != head or not before_user):
        before = before | {SYSTEM: system_head}
        after = after | {SYSTEM: system_tail.removesuffix(before_user)}
        return replace(plain, before=before, after=after)
    if system_head == head:
        return replace(plain, system_in_user=True, after_system=system_tail)
    raise ValueError(f"a system message stands between {system_head!r} and {system_tail!r}")


def _has_place_for_system(render: Render) -> bool:
    """Whether a system message is said anywhere; Gemma's template refuses it, others leave it out."""
    try:
        return _MARK in render([{"role": SYSTEM, "content": _MARK}, {"role": USER, "content": ""}])
    except ValueError:
        return False


def _around(render: Render, roles: Sequence[str]) -> list[str]:
    """The text before, between and after messages of these roles."""
    marks = [f"{_MARK}{number}{role}{_MARK}" for number, role in enumerate(roles)]
    text = render([{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)])
    found = []
    for mark in marks:
        before, present, text = text.partition(mark)
        if not present:
            raise ValueError(f"the template leaves out a message of the {mark.strip(_MARK)[1:]}")
        found.append(before)
    return [*found, text]


def _pieces(special: re.Pattern[str], text: str) -> list[str]:
    """Special tokens, line ends, and what is between them."""
    separators = re.compile(rf"({special.pattern}|\n)")
    return [piece for piece in separators.split(text) if piece]


def _cut(pieces: Sequence[str]) -> str:
    """What follows a user's message, cut from what begins an answer.

    Wherever the cut is, both always stand together, so that any cut renders the same; after the
    first special token (the end of the turn) and its line end is where people would cut.
    """
    end = 1 if len(pieces) > 1 else 0
    while end < len(pieces) - 1 and pieces[end] == "\n":
        end += 1
    return "".join(pieces[:end])


def _common_end(first: list[str], second: list[str]) -> str:
    count = 0
    while count < min(len(first), len(second)) and first[-1 - count] == second[-1 - count]:
        count += 1
    return "".join(first[len(first) - count :])


def _conversations(template: ChatTemplate) -> list[list[Message]]:
    question, answer = "What is it?\nTell me.", "It is {this}."
    turns = [{"role": USER, "content": question}, {"role": ASSISTANT, "content": answer}]
    conversations = [turns[:1], turns + turns[:1], turns + turns + turns[:1]]
    if SYSTEM in template.before or template.system_in_user:
        system = {"role": SYSTEM, "content": "Be brief."}
        conversations += [[system, *conversation] for conversation in conversations]
    return conversations


def _go(text: str) -> str:
    """Literal text in a Go template: a brace before another, or before an action, must be quoted."""
    return re.sub(r"\{(?=\{|\Z)", '{{ "{" }}', text)


def _refused(why: str) -> ReleaseError:
    return ReleaseError(
        f"the model's chat template cannot be put into Ollama's language: {why}",
        remedy='write it in Go\'s template language and name the file: [formats.ollama] template = "FILE"',
    )
