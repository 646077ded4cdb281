"""A model's chat template in Go's template language, which Ollama speaks, from its Jinja one.

Templates are programs and cannot be translated in general. Chat templates of text alone nearly all say the same thing,
though: what stands before and after each role's message. That is found by rendering the Jinja template with marked
messages, and it is trusted only when it renders every order of messages to the very same text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from time import monotonic

from msgspec import Struct, field

from tagship.formats.ollama.orders import ROLES, Message, conversations, numbered
from tagship.verify.conversations import ASSISTANT, SYSTEM, TOOL, USER

# Renders messages by the model's own template, up to where the model goes on. Raises ValueError when the template
# refuses them.
Render = Callable[[Sequence[Message]], str]

# For one candidate, and how many there may be: a template with a hundred lines before each turn has thousands.
_SECONDS, _CANDIDATES = 10, 40
# Each brace that is not before a plain letter, for something else here becomes an action.
_SAID_BY_ACTIONS = re.compile(r'\{(?![\n\t -z|}~])|\{(?=""")|"""|[^\n\t -~]')
# Found again in a rendered text; no template has it.
_MARK = "\u2042"


class NotDerivable(Exception):
    """A template that does more than put text around messages, and what."""


class ChatTemplate(Struct, frozen=True, kw_only=True):
    """What stands around messages, by role. Messages of other roles are left out.

    Of the roles in `unless_empty` a message without text is left out.

    `first` is what stands before a message that begins a conversation, where it is not what stands before later ones,
    and in place of one that is left out: a token that begins the text, a default system prompt. `asked` begins the
    answer that is asked for. With `folded`, a system message that begins a conversation is said within the message
    after it, before `folded`.
    """

    before: dict[str, str]
    after: dict[str, str]
    asked: str
    first: dict[str, str] = field(default_factory=dict)
    folded: str | None = None
    unless_empty: frozenset[str] = frozenset()

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for a conversation."""
        text, within = "", ""
        last = len(messages) - 1
        begins = True
        for number, message in enumerate(messages):
            role, content = message["role"], message["content"]
            if number == 0 and role == SYSTEM and self.folded is not None:
                within = content + self.folded
                continue
            if role not in self.before or (not content and role in self.unless_empty):
                text += self.first.get(role, "") if number == 0 else ""
            else:
                before = self.first.get(role, self.before[role]) if begins else self.before[role]
                after = "" if number == last and role == ASSISTANT else self.after[role]
                text += before + within + content + after
            begins, within = False, ""
        return text if messages[-1]["role"] == ASSISTANT else text + self.asked

    def go(self) -> str:
        """The template in Go's language, over Ollama's `.Messages`."""
        begins = ""
        if self.folded is not None:
            begins = '{{ $folds := and (eq $i 1) (eq (index $.Messages 0).Role "system") }}'
        roles = "".join(self._go_role(number, role) for number, role in enumerate(self._roles()))
        return (
            "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
            + begins
            + roles
            + "{{ end }}"
            + (_when(f'and $last (ne .Role "{ASSISTANT}")', "", self.asked) if self.asked else "")
            + "{{ end }}"
        )

    def _roles(self) -> list[str]:
        return [role for role in ROLES if role in self.before or self.first.get(role)]

    def _go_role(self, number: int, role: str) -> str:
        condition = f'eq .Role "{role}"'
        if role in self.unless_empty:
            condition = f"and ({condition}) .Content"
        opening = f"{{{{ {'if' if number == 0 else 'else if'} {condition} }}}}"
        if role not in self.before:
            return opening + _when("eq $i 0", "", self.first[role])
        within = "" if self.folded is None else _when("$folds", "{{ (index $.Messages 0).Content }}", self.folded)
        after = go_literal(self.after[role])
        if role == ASSISTANT and after:
            after = f"{{{{ if not $last }}}}{after}{{{{ end }}}}"
        said = f"{self._go_before(role)}{within}{{{{ .Content }}}}{after}"
        if role == SYSTEM and self.folded is not None:
            said = f"{{{{ if $i }}}}{said}{{{{ end }}}}"
        return opening + said

    def _go_before(self, role: str) -> str:
        first, before = self.first.get(role), self.before[role]
        if first is None:
            return go_literal(before)
        begins = "eq $i 0" if self.folded is None else "or (eq $i 0) $folds"
        if first.endswith(before):
            return _when(begins, "", first[: len(first) - len(before)]) + go_literal(before)
        return f"{{{{ if {begins} }}}}{go_literal(first)}{{{{ else }}}}{go_literal(before)}{{{{ end }}}}"


def _when(condition: str, action: str, text: str) -> str:
    return f"{{{{ if {condition} }}}}{action}{go_literal(text)}{{{{ end }}}}"


def derive(render: Render, special_tokens: Sequence[str]) -> ChatTemplate:
    """Find what stands around messages.

    `special_tokens` are not cut apart where two pieces of text are told from each other. Raises NotDerivable when the
    template does more than that.
    """
    split = re.compile("|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))) or r"(?!)")
    problem = ""
    try:
        for template in islice(_candidates(render, lambda text: _pieces(split, text)), _CANDIDATES):
            try:
                _prove(template, render)
            except ValueError as error:
                problem = problem or str(error)
            else:
                return template
    except ValueError as error:
        problem = str(error)
    raise NotDerivable(problem)


def _prove(template: ChatTemplate, render: Render) -> None:
    """Raise ValueError for a conversation that does not become the same text, or that every client holds and the
    model's own template refuses: this one would not."""
    ends = monotonic() + _SECONDS
    for messages in conversations():
        if monotonic() > ends:
            raise ValueError(f"it takes more than {_SECONDS} seconds for some hundred conversations")
        try:
            expected = render(messages)
        except ValueError as error:
            if _is_ordinary(messages):
                raise ValueError(f"it refuses {_shown(messages)} ({error})") from None
            continue
        if (got := template.render(messages)) != expected:
            raise ValueError(f"{_shown(messages)} is {expected!r}, which would become {got!r}")


def _is_ordinary(messages: Sequence[Message]) -> bool:
    """Whether it is a system message, perhaps, then questions and answers in turn, and a question at the end."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == SYSTEM else roles
    return len(turns) % 2 == 1 and all(role == (USER, ASSISTANT)[number % 2] for number, role in enumerate(turns))


def _shown(messages: Sequence[Message]) -> str:
    return "the conversation " + ", ".join(message["role"] for message in messages)


def _candidates(render: Render, pieces: Callable[[str], list[str]]) -> Iterator[ChatTemplate]:
    """Templates that say the same of questions and answers in turn, and differ in where they cut what follows a message
    from what begins the next one. First those that are cut where people would."""
    turns = head, between, again, tail = _around(render, (USER, ASSISTANT, USER))
    # Both `between` and `tail` are what follows a user's message, then what begins an answer.
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(between, tail, strict=False))
    shared = pieces("".join(letter for letter, _ in pairs))
    cut = _cut(shared)
    common = _common_end(pieces(head), pieces(again))
    for end in sorted(range(len(shared) + 1), key=lambda end: (end != cut, -end)):
        for start in range(len(common) + 1):
            yield _derive(render, turns, "".join(shared[:end]), "".join(common[start:]))


def _derive(render: Render, turns: Sequence[str], after_user: str, before_user: str) -> ChatTemplate:
    head, between, again, tail = turns
    before = {USER: before_user, ASSISTANT: between.removeprefix(after_user)}
    after = {USER: after_user, ASSISTANT: again.removesuffix(before_user)}
    first = {USER: head}
    if opening := _around_or_none(render, (ASSISTANT, USER)):
        first[ASSISTANT] = opening[0]
    folded = None
    for role in (SYSTEM, TOOL):
        opening = _around_or_none(render, (role, USER))
        later = _around_or_none(render, (USER, role, USER))
        folds = bool(opening and role == SYSTEM and before_user and opening[0] == head)
        if later:
            before[role], after[role] = later[1].removeprefix(after_user), later[2].removesuffix(before_user)
        elif opening and not folds:
            before[role], after[role] = opening[0], opening[1].removesuffix(before_user)
        if opening and folds:
            folded = opening[1]
        elif opening:
            first[role] = opening[0]
        elif role not in before and (text := _in_place_of(render, role)) is not None:
            first[role] = text.removesuffix(before_user)
    different = {role: text for role, text in first.items() if text != before.get(role)}
    asked = tail.removeprefix(after_user)
    unless_empty = frozenset(role for role in before if _is_left_out_empty(render, role))
    return ChatTemplate(
        before=before, after=after, asked=asked, first=different, folded=folded, unless_empty=unless_empty
    )


def _is_left_out_empty(render: Render, role: str) -> bool:
    """Whether a message without text, between two of others, is left out."""
    other = ASSISTANT if role == USER else USER
    around = [numbered(0, other), numbered(2, other)]
    try:
        return render([around[0], {"role": role, "content": ""}, around[1]]) == render(around)
    except ValueError:
        return False


def _in_place_of(render: Render, role: str) -> str | None:
    """What stands before a user's message where a message of a role that is left out begins the conversation."""
    mark = f"{_MARK}{USER}{_MARK}"
    try:
        text = render([{"role": role, "content": ""}, {"role": USER, "content": mark}])
    except ValueError:
        return None
    return text.partition(mark)[0]


def _around_or_none(render: Render, roles: Sequence[str]) -> list[str] | None:
    """As `_around`; None where the template refuses these messages or leaves one out."""
    try:
        return _around(render, roles)
    except ValueError:
        return None


def _around(render: Render, roles: Sequence[str]) -> list[str]:
    """The text before, between and after messages of these roles."""
    marks = [f"{_MARK}{number}{role}{_MARK}" for number, role in enumerate(roles)]
    text = render([{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)])
    found = []
    for mark in marks:
        before, present, text = text.partition(mark)
        if not present:
            raise ValueError(f"it leaves out a message of the {mark.strip(_MARK)[1:]}")
        found.append(before)
    return [*found, text]


def _pieces(special: re.Pattern[str], text: str) -> list[str]:
    """Special tokens, line ends, and what is between them."""
    separators = re.compile(rf"({special.pattern}|\n)")
    return [piece for piece in separators.split(text) if piece]


def _cut(pieces: Sequence[str]) -> int:
    """How many pieces follow a user's message before those that begin an answer: the first special token (the end of
    the turn) and its line end, where people would cut."""
    end = 1 if len(pieces) > 1 else 0
    while end < len(pieces) - 1 and pieces[end] == "\n":
        end += 1
    return end


def _common_end(first: list[str], second: list[str]) -> list[str]:
    count = 0
    while count < min(len(first), len(second)) and first[-1 - count] == second[-1 - count]:
        count += 1
    return first[len(first) - count :]


def go_literal(text: str) -> str:
    """Text in a Go template. What would begin an action, and what a Modelfile would lose or take for its own quotes, is
    an action that says it: a brace before another or before an action, three quotes, letters that are not printed."""
    return _SAID_BY_ACTIONS.sub(lambda found: _escaped(found[0]), text)


def _escaped(text: str) -> str:
    if text == "{":
        return '{{ "{" }}'
    if text == '"""':
        return r'{{ "\"\"\"" }}'
    return text if text.isprintable() else f'{{{{ "\\U{ord(text):08x}" }}}}'
