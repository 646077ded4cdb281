"""The rules that places have for names, held against those who made them, and the moment in names."""

import subprocess
from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import given, settings
from hypothesis import strategies as st
from tagship.formats.ollama.name_rules import OLLAMA
from tagship.naming.clock import parse_moment
from tagship.naming.name_rules import FILES, GIT, HUB, NameRules
from tagship.system.errors import UsageError

PLACES = [HUB, OLLAMA, GIT, FILES]
# Names of the pieces that rules are about, next to any text at all.
PIECES = ["a", "é", "-", "--", ".", "..", "/", ".lock", ".git", "@", "@{", "~", "^", ":", "?", "*", "[", "\\", " ", "+"]
names = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=20) | st.text("a-.", max_size=300)


@pytest.mark.parametrize("name", ["a", "model", "A_b.c-d", "phi3mini4k-minimal-q4_k_m-gguf-v2.0.0", "_a_", "x" * 96])
def test_valid_repo_names(name: str) -> None:
    """Names that the Hub takes break no rule, and the nearest to them is themselves."""
    assert HUB.problem(name) is None
    assert HUB.nearest(name) == name
    validate_repo_id(name)


@pytest.mark.parametrize(
    ("name", "problem", "near"),
    [
        ("", "must not be empty", "model"),
        ("x" * 97, "has 97 characters; the Hub allows 96", "x" * 96),
        ("a+b", "may only have letters, digits", "a_b"),
        ("a b", "may only have letters, digits", "a-b"),
        ("a/b", "may only have letters, digits", "a-b"),
        ("a--b", "must not have '--'", "a-b"),
        ("a..b", "must not have '--' or '..'", "a.b"),
        ("-a", "must not start or end", "a"),
        ("a.", "must not start or end", "a"),
        ("a.git", "must not end with '.git'", "a"),
        ("a.git.git", "must not end with '.git'", "a"),
        ("a.git-", "must not start or end", "a"),
        (".git", "must not start or end", "git"),
        ("---", "must not have '--'", "model"),
    ],
)
def test_repo_names_that_the_hub_refuses(name: str, problem: str, near: str) -> None:
    """Each name that the Hub's client refuses is refused with the rule, and has a nearest valid name."""
    with pytest.raises(HFValidationError):
        validate_repo_id(f"acme/{name}")
    assert problem in str(HUB.problem(name))
    assert HUB.nearest(name) == near


def test_letters_beyond_ascii() -> None:
    """A letter that is not ASCII is refused: the Hub has none."""
    assert HUB.problem("café") is not None
    assert HUB.nearest("café") == "caf"


def taken_by_git(name: str) -> bool:
    done = subprocess.run(["git", "check-ref-format", f"refs/tags/{name}"], check=False)
    return done.returncode == 0


@pytest.mark.parametrize(
    "name", ["v2.0.0", "model-v1.0.0", "release/v1", "a@b", "@a", "a{", "a./b", "é", "1.2.3+cu124"]
)
def test_valid_tags(name: str) -> None:
    """Names that git takes break no rule, and the nearest to them is themselves."""
    assert taken_by_git(name)
    assert GIT.problem(name) is None
    assert GIT.nearest(name) == name


@pytest.mark.parametrize(
    ("name", "problem", "near"),
    [
        ("", "must not be empty", "v1.0.0"),
        ("/a", "nor begin or end with '/'", "a"),
        ("a/", "nor begin or end with '/'", "a"),
        ("a//b", "nor have '//'", "a/b"),
        ("a b", "must not have spaces", "a-b"),
        ("a\x01b", "control characters", "a-b"),
        ("a\x7fb", "control characters", "a-b"),
        ("a\nb", "control characters", "a-b"),
        *((f"v1{letter}2", "any of ~^:?*[", "v1-2") for letter in "~^:?*[\\"),
        ("a..b", "must not have '..'", "a.b"),
        ("a@{b", "or '@{'", "a-b"),
        (".a", "must not begin with '.'", "a"),
        ("a/.b", "nor a part after '/'", "a/b"),
        ("a.lock", "must not end with '.lock'", "a"),
        ("a.lock/b", "must not end with '.lock'", "a/b"),
        ("v1.0.", "must not end with '.lock' or '.'", "v1.0"),
    ],
)
def test_tags_that_git_refuses(name: str, problem: str, near: str) -> None:
    """Each name that git refuses is refused with the rule, and has a nearest valid name."""
    assert not taken_by_git(name)
    assert problem in str(GIT.problem(name))
    assert GIT.nearest(name) == near


@pytest.mark.parametrize(
    ("name", "near"), [("-a", "a"), ("--", "v1.0.0"), ("@", "v1.0.0"), ("-.a", "a"), ("-@-.a", "@-.a")]
)
def test_tags_that_only_commands_refuse(name: str, near: str) -> None:
    """A name that git's commands would take for an option or for HEAD is refused too."""
    assert GIT.problem(name) == "must not be '@' or begin with '-'"
    assert GIT.nearest(name) == near


@given(names.filter(lambda name: "\0" not in name and name != "@" and name[:1] != "-"))
@settings(max_examples=150, deadline=None)
def test_rules_are_those_of_git(name: str) -> None:
    """A name is refused just where `git check-ref-format` refuses it."""
    assert (GIT.problem(name) is None) == taken_by_git(name)


@pytest.mark.parametrize("name", ["a", "phi3mini4k-minimal-r32-v1.2.3_cu124", "_a", "9", "a--b..c", "a-", "x" * 80])
def test_valid_ollama_names(name: str) -> None:
    """Names that Ollama takes break no rule, and the nearest to them is themselves."""
    assert OLLAMA.problem(name) is None
    assert OLLAMA.nearest(name) == name


@pytest.mark.parametrize(
    ("name", "problem", "near"),
    [
        ("", "must not be empty", "model"),
        ("x" * 81, "has 81 characters; Ollama allows 80", "x" * 80),
        ("-" + "x" * 80, "has 81 characters", "x" * 80),
        ("a-v1.2.3+cu124", "may only have letters, digits", "a-v1.2.3_cu124"),
        ("a:b", "may only have letters, digits", "a-b"),
        ("a/b", "may only have letters, digits", "a-b"),
        ("café", "may only have letters, digits", "caf-"),
        (".a", "must start with a letter, a digit or '_'", "a"),
        ("-a", "must start with a letter, a digit or '_'", "a"),
        ("-.", "must start with a letter, a digit or '_'", "model"),
    ],
)
def test_names_that_ollama_refuses(name: str, problem: str, near: str) -> None:
    """Each name that Ollama refuses is refused with the rule, and has a nearest valid name."""
    assert problem in str(OLLAMA.problem(name))
    assert OLLAMA.nearest(name) == near


@pytest.mark.parametrize("name", ["a", "a b", "é" * 127, "vllm-x-v1.2.3+cu124.tar.gz", "x" * 255])
def test_valid_file_names(tmp_path: Path, name: str) -> None:
    """Names that break no rule can be files, and the nearest to them is themselves."""
    assert FILES.problem(name) is None
    assert FILES.nearest(name) == name
    (tmp_path / name).write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "problem", "near"),
    [
        ("", "must not be empty", "model"),
        ("x" * 256, "has 256 bytes; file systems allow 255", "x" * 255),
        ("é" * 128, "has 256 bytes; file systems allow 255", "é" * 127),
        ("a/b", "must not have '/'", "a-b"),
        ("a\0b", "must not have '/'", "a-b"),
        (".", "must not begin with '.'", "model"),
        ("..", "must not begin with '.'", "model"),
        (".hidden", "must not begin with '.'", "hidden"),
        ("-rf", "must not begin with '.' or '-'", "rf"),
        ("/.a", "must not have '/'", "a"),
    ],
)
def test_file_names_that_are_refused(name: str, problem: str, near: str) -> None:
    """A name that a file cannot have, or that shells and listings take for something else, is refused."""
    assert problem in str(FILES.problem(name))
    assert FILES.nearest(name) == near


@given(names)
@settings(max_examples=100, deadline=None)
def test_files_can_have_the_nearest_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Whatever the name, the nearest one makes a file of that name, right in its folder."""
    folder = tmp_path_factory.mktemp("files")
    (folder / FILES.nearest(name)).write_text("x")
    assert [path.name for path in folder.iterdir()] == [FILES.nearest(name)]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.name))
@given(name=names)
@settings(max_examples=300, deadline=None)
def test_nearest_name_is_valid(place: NameRules, name: str) -> None:
    """Whatever the name, the nearest one breaks no rule; a name that breaks none is its own nearest."""
    near = place.nearest(name)
    assert place.problem(near) is None
    assert near == name or place.problem(name) is not None


def test_complaint() -> None:
    """A complaint says which place refuses which name, as what, and by which rule; there is none of a valid name."""
    assert (
        HUB.complaint("a--b", "repo name") == "the Hub would refuse the repo name 'a--b': it must not have '--' or '..'"
    )
    assert GIT.complaint("v1.0.0", "tag") is None


def test_moment() -> None:
    """--at is read as UTC."""
    moment = parse_moment("20250915-124051")
    assert moment.isoformat() == "2025-09-15T12:40:51+00:00"


@pytest.mark.parametrize("text", ["", "2025-09-15", "20250915", "20251315-124051", "20250915-124051Z"])
def test_moment_that_is_none(text: str) -> None:
    """Any other text is a mistake in the options."""
    with pytest.raises(UsageError, match="--at must be YYYYMMDD-HHMMSS"):
        parse_moment(text)
