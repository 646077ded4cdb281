"""What a command line that Invoke cannot parse was probably meant to be: a verb, an option, a value that is missing."""

import difflib
import re
from collections.abc import Iterable, Sequence

from invoke.exceptions import ParseError
from invoke.parser import ParserContext

from tagship.system.errors import UsageError

_UNKNOWN = re.compile(r"No idea what '(.*)' is!", re.DOTALL)
_UNQUOTED = re.compile(r"No idea what \"(.*)\" is!", re.DOTALL)
_NO_VALUE = re.compile(r"Flag <\w+: ([\w-]+)")
_NO_NAME = re.compile(r"'(.*)' did not receive required positional arguments: '(.*)'")

# From which likeness on a word is what another one was meant to be.
_NEAR = 0.65


def understood(error: ParseError, program: str, contexts: Sequence[ParserContext]) -> UsageError:
    """The error in our words; `contexts` are all verbs."""
    said = str(error)
    if found := _UNKNOWN.fullmatch(said) or _UNQUOTED.fullmatch(said):
        return _unknown(found[1], error.context, program, contexts)
    verb = error.context.name if error.context and error.context.name else None
    if found := _NO_VALUE.match(said):
        return UsageError(f"--{found[1]} needs a value", remedy=_help(program, verb))
    if found := _NO_NAME.match(said):
        return UsageError(f"{found[1]} needs a {found[2]}", remedy=_help(program, found[1]))
    return UsageError(said, remedy=_help(program, verb))


def unknown_option(word: str, verb: str, flags: Iterable[str], program: str) -> UsageError:
    """What is said of an option that a verb does not have, where the nearest one that it has is named."""
    return UsageError(f"{verb} has no option {word}{_nearest(word, flags)}", remedy=_help(program, verb))


def _unknown(word: str, context: ParserContext | None, program: str, contexts: Sequence[ParserContext]) -> UsageError:
    verb = context.name if context and context.name else None
    if verb and context and word.startswith("-"):
        return unknown_option(word, verb, [*context.flags, *context.inverse_flags], program)
    if word.startswith("-"):
        having = [each.name for each in contexts if word in each.flags]
        if having:
            return UsageError(
                f"{word} stands before the verb", remedy=f"put it behind, as in {program} {having[0]} {word}"
            )
        return UsageError(f"there is no option {word} before a verb", remedy=f"{program} --help")
    names = [str(each.name) for each in contexts]
    if verb:
        return UsageError(
            f"{verb} does not take {word!r}, and no verb has that name{_nearest(word, names)}",
            remedy=_help(program, verb),
        )
    return UsageError(f"there is no verb {word!r}{_nearest(word, names)}", remedy=f"{program} --list")


def _nearest(word: str, known: Iterable[str]) -> str:
    by_name = {name.lstrip("-"): name for name in sorted(set(known))}
    near = difflib.get_close_matches(word.lstrip("-"), by_name, n=1, cutoff=_NEAR)
    return f": did you mean {by_name[near[0]]}?" if near else ""


def _help(program: str, verb: str | None) -> str:
    return f"{program} {verb} --help" if verb else f"{program} --help"
