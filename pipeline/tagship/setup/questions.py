"""What has to be known and nobody recorded: asked for once, all of it together, or given as FIELD=VALUE."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from tagship.hub_server.card_rules import LICENSES
from tagship.naming.clock import MOMENT_FORMAT
from tagship.naming.fields import FieldValue
from tagship.naming.name_rules import HUB
from tagship.setup.found_bases import is_model_id
from tagship.system.errors import UsageError
from tagship.system.toml_reader import hint, nearest

_WORD = re.compile(r"[A-Za-z0-9._]+")
_COMPACT = re.compile(r"\d{8}-\d{6}")
_AS_ON_THE_HUB = "it is the Hub's identifier of a license, such as apache-2.0, or other for one that has none"


class Question(Struct, frozen=True, kw_only=True):
    """A field that nobody recorded: what it means, in a few words, and a value that it could have."""

    field: str
    meaning: str
    example: str


NAMESPACE = Question(field="namespace", meaning="your user or organization on the Hub", example="your-name")
BASE = Question(field="base", meaning="the base model on the Hub", example="organization/name")
LICENSE = Question(field="license", meaning="the license of the base model, as the Hub calls it", example="apache-2.0")
OF_RUNS: Mapping[str, Question] = {
    "dataset": Question(field="dataset", meaning="the data that the run was trained on, in a word", example="my_data"),
    "epochs": Question(field="epochs", meaning="how many epochs the run was trained for", example="3"),
    "trained": Question(
        field="trained", meaning="when the run was trained, in UTC as YYYYMMDD-HHMMSS", example="20250914-132416"
    ),
}
ALL = (NAMESPACE, BASE, LICENSE, *OF_RUNS.values())


def read_said(pairs: Iterable[str]) -> dict[str, FieldValue]:
    """What FIELD=VALUE pairs say. Raises UsageError for a field that is none, or a value that it cannot have."""
    said: dict[str, FieldValue] = {}
    known = [question.field for question in ALL]
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set must be FIELD=VALUE, not {pair!r}")
        if field not in known:
            raise UsageError(f"--set must be FIELD=VALUE with a known field, not {pair!r}{hint(field, known)}")
        said[field] = read_value(field, value)
    return said


def read_value(field: str, text: str) -> FieldValue:
    """The value that a text gives a field. Raises UsageError that says what it may be."""
    text = text.strip()
    if problem := _PROBLEMS[field](text):
        raise UsageError(f"{field} cannot be {text!r}: {problem}")
    if field == "trained":
        return _moment(text) or datetime.min
    return int(text) if field == "epochs" else text


def ask_all(questions: Sequence[Question], ask: Callable[[str], str]) -> dict[str, FieldValue]:
    """Ask a person, again where an answer cannot be; `ask` shows a text and returns what was typed."""
    answers: dict[str, FieldValue] = {}
    for question in questions:
        complaint = ""
        while question.field not in answers:
            try:
                shown = f"{complaint}{question.meaning}, such as {question.example}: "
                answers[question.field] = read_value(question.field, ask(shown))
            except UsageError as error:
                complaint = f"{error}\n"
    return answers


def options_for(questions: Sequence[Question]) -> str:
    """The options that answer questions: what stands for the answers is none, so that it cannot be taken for one."""
    return " ".join(f"--set {question.field}=…" for question in questions)


def said_by(answers: Mapping[str, FieldValue]) -> list[str]:
    """The pairs that say what was answered."""
    times = {field: value.strftime(MOMENT_FORMAT) for field, value in answers.items() if isinstance(value, datetime)}
    return [f"{field}={value}" for field, value in {**answers, **times}.items()]


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.strptime(text, MOMENT_FORMAT) if _COMPACT.fullmatch(text) else datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _unless(fits: Callable[[str], object], problem: str) -> Callable[[str], str | None]:
    return lambda text: None if fits(text) else problem


_PROBLEMS: Mapping[str, Callable[[str], str | None]] = {
    "namespace": HUB.problem,
    "base": _unless(
        is_model_id,
        "it is organization/name; where its files are in a folder, release.toml says so beside it: "
        '[bases."organization/name"] path = "FOLDER"',
    ),
    "license": lambda text: None if text in LICENSES else _AS_ON_THE_HUB + nearest(text, LICENSES),
    "dataset": _unless(_WORD.fullmatch, "it is a word of letters, digits, '.' and '_'; a hyphen separates fields"),
    "epochs": _unless(lambda text: text.isascii() and text.isdigit() and int(text) > 0, "it is a whole number"),
    "trained": _unless(_moment, "it is a time such as 20250914-132416"),
}
