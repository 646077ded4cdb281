"""The typed reader of TOML tables: values, and mistakes with their dotted keys."""

from collections.abc import Mapping
from typing import Any

import pytest
from tagship.system.toml_reader import Reader, hint


def reader(table: Mapping[str, Any], where: str = "") -> Reader:
    return Reader(table, where, [])


def whole(text: str) -> int:
    """A parser as the reader wants it: ValueError with what is wrong."""
    if not text.isdecimal():
        raise ValueError(f"is no number: {text!r}")
    return int(text)


def test_values() -> None:
    """Each getter returns the value that the document has."""
    table = reader(
        {"a": "text", "b": True, "c": 3, "d": 0.5, "e": ["x", "y"], "f": {"g": "inner"}, "h": ["x"], "i": "12", "j": 0}
    )
    assert table.text("a", "other") == "text"
    assert table.optional_text("a") == "text"
    assert table.required("a", "a text") == "text"
    assert table.flag("b", False) is True
    assert table.count("c", 1) == 3
    assert table.number("d") == 0.5
    assert (table.fraction("d", 1.0), table.fraction("j", 0.5), table.fraction("k", 0.5)) == (0.5, 0.0, 0.5)
    assert table.texts("e", ()) == ("x", "y")
    assert table.choices("h", (), ("x", "z")) == ("x",)
    assert table.parsed("i", "0", whole) == 12
    assert table.table("f").text("g") == "inner"
    assert table.table("f").entries() == {"g": "inner"}
    table.close()
    assert table.problems == []


def test_defaults() -> None:
    """Each getter returns the default for a key that is not there, and notes nothing."""
    table = reader({})
    assert table.text("a", "other") == "other"
    assert table.optional_text("a") is None
    assert table.flag("b", True) is True
    assert table.count("c", 64) == 64
    assert table.number("d") is None
    assert table.texts("e", ["x"]) == ("x",)
    assert table.choices("h", ["x"], ("x", "z")) == ("x",)
    assert table.parsed("i", "7", whole) == 7
    assert table.table("f").keys() == []
    assert table.problems == []


def test_a_choice_that_stands_twice() -> None:
    """It is a mistake, and no two of what it chooses."""
    table = reader({"key": ["a", "b", "a"]})
    table.choices("key", (), ("a", "b"))
    assert table.problems == ["key names 'a' twice"]


@pytest.mark.parametrize(
    ("getter", "value", "problem"),
    [
        ("text", 3, "must be a string, not 3"),
        ("optional_text", ["x"], "must be a string, not ['x']"),
        ("table", "x", "must be a table, not 'x'"),
        ("number", "x", "must be a number above zero, not 'x'"),
        ("number", True, "must be a number above zero, not True"),
        ("number", 0, "must be a number above zero, not 0"),
        ("number", -0.5, "must be a number above zero, not -0.5"),
        ("number", float("nan"), "must be a number above zero, not nan"),
        ("number", float("inf"), "must be a number above zero, not inf"),
    ],
)
def test_wrong_value(getter: str, value: Any, problem: str) -> None:
    """A value of the wrong type or size is noted with its dotted key."""
    table = reader({"key": value}, "outer.inner")
    getattr(table, getter)("key")
    assert table.problems == [f"outer.inner.key {problem}"]


@pytest.mark.parametrize(
    ("getter", "value", "default", "problem"),
    [
        ("flag", "yes", True, "must be true or false, not 'yes'"),
        ("flag", 1, False, "must be true or false, not 1"),
        ("count", "many", 64, "must be a whole number above zero, not 'many'"),
        ("count", 0, 64, "must be a whole number above zero, not 0"),
        ("count", True, 64, "must be a whole number above zero, not True"),
        ("count", 1.5, 64, "must be a whole number above zero, not 1.5"),
        ("texts", "x", ("y",), "must be a list of strings, not 'x'"),
        ("texts", ["x", 3], ("y",), "must be a list of strings, not ['x', 3]"),
    ],
)
def test_wrong_value_becomes_the_default(getter: str, value: Any, default: Any, problem: str) -> None:
    """After a wrong value is noted, once, the default goes on."""
    table = reader({"key": value})
    assert getattr(table, getter)("key", default) == default
    assert table.problems == [f"key {problem}"]


def test_parser_that_refuses() -> None:
    """What a parser says is noted with the key, and the parsed default goes on."""
    table = reader({"key": "x"})
    assert table.parsed("key", "7", whole) == 7
    assert table.problems == ["key is no number: 'x'"]


def test_required() -> None:
    """A required text that is missing, and one that is empty, is noted with what it means."""
    table = reader({"empty": ""})
    table.required("missing", "your name")
    table.required("empty", "your name")
    assert table.problems == ["missing is missing: your name", "empty is empty: your name"]


def test_required_of_the_wrong_type_is_noted_once() -> None:
    """A required text that is a number is told to be no string, and not to be missing too."""
    table = reader({"name": 3})
    table.required("name", "your name")
    assert table.problems == ["name must be a string, not 3"]


def test_choices_leave_out_unknown_words() -> None:
    """Words that are not allowed are noted with the nearest one that is, and left out."""
    table = reader({"does": ["export", "publsh"]})
    assert table.choices("does", (), ("export", "publish")) == ("export",)
    assert table.problems == ["does unknown 'publsh': did you mean 'publish'?"]


def test_unknown_keys_in_the_order_of_the_document() -> None:
    """Closing notes every key that nobody asked for, in the order in which the document has them."""
    keys = [f"key{number}" for number in range(20)]
    table = reader({"known": "x", **dict.fromkeys(keys, 1)})
    table.text("known")
    table.close()
    assert [problem.split()[0] for problem in table.problems] == keys


def test_unknown_key_has_a_hint() -> None:
    """An unknown key is told with the known one that is spelled nearly so."""
    table = reader({"privat": True}, "hub")
    table.flag("private", False)
    table.text("endpoint")
    table.close()
    assert table.problems == ["hub.privat is unknown: did you mean 'private'?"]


def test_inner_tables_share_the_problems() -> None:
    """Mistakes of inner tables are in the outer list, under the whole dotted key."""
    table = reader({"a": {"b": {"c": 3}}})
    table.table("a").table("b").text("c")
    assert table.problems == ["a.b.c must be a string, not 3"]


def test_tables_go_through_all_entries_in_order() -> None:
    """Every entry is a table of its own, and an entry that is none is noted and read as empty."""
    table = reader({"z": {"x": "1"}, "a": 3}, "tags")
    assert [(name, inner.text("x")) for name, inner in table.tables()] == [("z", "1"), ("a", "")]
    assert table.problems == ["tags.a must be a table, not 3"]


@pytest.mark.parametrize(
    ("key", "shown"),
    [("max_tokens", "verify.max_tokens"), ("a-b", "verify.a-b"), ("org/name", 'verify."org/name"')],
)
def test_keys_are_written_as_toml_writes_them(key: str, shown: str) -> None:
    """A key that TOML must quote is quoted in the message too."""
    table = reader({key: 3}, "verify")
    table.text(key)
    assert table.problems == [f"{shown} must be a string, not 3"]


def test_hint_lists_what_is_known() -> None:
    """Where no known word is near, all of them are listed; where none is known, nothing is said."""
    assert hint("zzz", ("vllm", "lora")) == "; known: lora, vllm"
    assert hint("zzz", ()) == ""


def test_hint_ignores_case() -> None:
    """A word that differs in case alone is near."""
    assert hint("Q4_K_M", ("q4_k_m", "q8_0")) == ": did you mean 'q4_k_m'?"


def test_hint_of_a_beginning() -> None:
    """What a longer word begins with is too short to be near it."""
    assert hint("fp8", ("bf16", "fp8-dynamic")) == ": did you mean 'fp8-dynamic'?"
