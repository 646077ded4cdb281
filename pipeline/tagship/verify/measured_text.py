"""The text along which exports are measured: one that ships with tagship, or a file of a user's own.

`text/measured.jsonl` was written for this purpose, and is under the license of this project. Its kinds are mixed, so
that the first few hundred tokens, which may be all that a large model is asked, are a fair sample.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.system.git_lfs import refuse_pointer
from tagship.verify.conversations import ASSISTANT, SYSTEM, USER
from tagship.verify.questions import Tokens

SHIPPED = Path(__file__).parent / "text" / "measured.jsonl"
# Numbers that are computed for a token and a parameter, in billions a second on two cores; and the seconds that a
# text may take by that.
SPEED, _SECONDS = 40e9, 25.0
# Tokens of text: what is measured at least, and where a model is so small that it could read all, at most.
_LEAST_TOKENS, MOST_TOKENS = 512, 4096
# Of a passage as many tokens as this are read, or as the model reads at once.
LONGEST_READ = 512
# Characters of a passage that is cut from a plain file: some 250 tokens of English.
LONGEST = 1_000
# Of a file, which is read as a whole. A measurement takes some 10,000 tokens, which are 50 kB.
_LARGEST = 16 << 20

_ROLES = (SYSTEM, USER, ASSISTANT)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
# What is too long ends with a line if it can, or else with a word.
_PIECE = re.compile(
    rf".{{1,{LONGEST}}}\Z|.{{{LONGEST // 2},{LONGEST - 1}}}\n|.{{{LONGEST // 2},{LONGEST - 1}}}\s|.{{1,{LONGEST}}}",
    re.DOTALL,
)
_FORM = 'each line is {"text": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}, with a "kind" if you like'


class Passage(Struct, frozen=True, kw_only=True):
    """A conversation, for the model's own chat template, or plain text.

    `kind` says what it is: prose, python, german … Of `messages`, each with `role` and `content`, and `text` one is
    there: a conversation has no text, plain text no messages.
    """

    kind: str
    messages: tuple[Mapping[str, str], ...] = ()
    text: str | None = None

    @property
    def plain(self) -> str:
        """What is said, without who says it."""
        return self.text or "\n\n".join(message["content"] for message in self.messages)


def shipped_text() -> tuple[Passage, ...]:
    """The text that ships with tagship: some 10,000 tokens, a few more or less by tokenizer."""
    return read_text(SHIPPED)


def read_text(path: Path) -> tuple[Passage, ...]:
    """The passages of a file, in its order.

    A `.jsonl` file has a passage in each line; what its objects hold beside `kind`, `messages` and `text` is not read.
    Any other file is plain text, cut at blank lines into passages of at most `LONGEST` characters.

    Raises ReleaseError, which names file and line, for what cannot be read, or holds no text.
    """
    content = _content(path)
    passages = tuple(_records(content, path) if path.suffix.lower() == ".jsonl" else _plain(content))
    if not passages:
        raise ReleaseError(f"{path} holds no text", remedy="name a file with text, some 10,000 tokens of it")
    return passages


def usual_tokens(parameters: int) -> int:
    """As many tokens of a text as a model of so many parameters reads in a fair time."""
    return int(min(max(SPEED * _SECONDS / (2 * parameters), _LEAST_TOKENS), MOST_TOKENS))


def first_tokens(spelled: Iterable[Sequence[int]], most: int, longest: int) -> tuple[Tokens, ...]:
    """Of passages in tokens the first ones, `most` tokens in all and of each no more than `longest`."""
    taken: list[Tokens] = []
    for ids in spelled:
        if most <= 0:
            break
        if len(ids) > 1:
            taken.append(Tokens(ids=tuple(ids[: min(most + 1, longest)]), since=1))
            most -= len(taken[-1].looked_at)
    return tuple(taken)


def digest_of(passages: Iterable[Passage]) -> str:
    """The SHA-256, in hexadecimal, of what passages say, whatever file they were in and however it was written."""
    digest = hashlib.sha256()
    for passage in passages:
        messages = [[message["role"], message["content"]] for message in passage.messages]
        said = [passage.kind, passage.text, messages]
        digest.update(json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def _content(path: Path) -> str:
    """A text file, with line feeds alone at the ends of its lines."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        remedy = "name a text file that is there and can be read"
        raise ReleaseError(f"{path} cannot be read: {error.strerror}", remedy=remedy) from None
    refuse_pointer(path, raw)
    if len(raw) > _LARGEST:
        remedy = f"name a part of it: head --bytes=1M {path.name} > part{path.suffix}"
        raise ReleaseError(f"{path} has more than {_LARGEST >> 20} MiB of text", remedy=remedy)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, raw, error.start) from None
    if "\0" in text:
        raise _not_text(path, raw, raw.index(b"\0"))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_text(path: Path, raw: bytes, where: int) -> ReleaseError:
    line = raw.count(b"\n", 0, where) + 1
    return ReleaseError(
        f"{path}, line {line}: byte 0x{raw[where]:02x} is not text in UTF-8",
        remedy=f"convert it, for example: iconv --from-code=LATIN1 --to-code=UTF-8 {path.name} > utf8{path.suffix}",
    )


def _records(content: str, path: Path) -> Iterator[Passage]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _record(line)
        except _Malformed as error:
            raise ReleaseError(f"{path}, line {number}: {error}", remedy=_FORM) from None


class _Malformed(ValueError):
    """What is wrong with a line."""


def _record(line: str) -> Passage:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise _Malformed(f"not valid JSON at column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise _Malformed(f"{line.strip()!r:.60} is not a JSON object")
    if ("messages" in found) == ("text" in found):
        raise _Malformed('it has to have one of "messages" and "text"')
    if "text" in found:
        return Passage(kind=_string(found.get("kind", "text"), "kind"), text=_string(found["text"], "text"))
    kind = _string(found.get("kind", "conversation"), "kind")
    return Passage(kind=kind, messages=tuple(_messages(found["messages"])))


def _messages(found: Any) -> Iterator[Mapping[str, str]]:
    if not isinstance(found, list) or not found:
        raise _Malformed('"messages" is not a list of messages')
    for place, message in enumerate(found):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise _Malformed(f'{where} is not an object with "role" and "content"')
        role = message.get("role")
        if role not in _ROLES:
            raise _Malformed(f"{where}.role is {json.dumps(role):.60}, and not one of {', '.join(_ROLES)}")
        yield {"role": role, "content": _string(message.get("content"), f"{where}.content")}


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Malformed(f"{where} is {json.dumps(value):.60}, and not text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Malformed(f"{where} has half of a character: {json.dumps(value[error.start])}") from None
    return value


def _plain(content: str) -> Iterator[Passage]:
    return (Passage(kind="text", text=part) for part in _parts(content))


def _parts(content: str) -> Iterator[str]:
    """Paragraphs, as many of them together as there is room for; one is cut only where it is too long by itself."""
    gathered = ""
    for paragraph in _BLANK_LINES.split(content):
        pieces = [piece.rstrip() for piece in _PIECE.findall(paragraph.strip("\n").rstrip()) if piece.strip()]
        if not pieces:
            continue
        *whole, rest = pieces
        if gathered and (whole or len(gathered) + 2 + len(rest) > LONGEST):
            yield gathered
            gathered = ""
        yield from whole
        gathered = f"{gathered}\n\n{rest}" if gathered else rest
    if gathered:
        yield gathered
