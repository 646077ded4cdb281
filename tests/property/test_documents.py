"""Properties of what people write and trainers leave: whatever is in a file, it is read or refused in a message."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tagship.cli import doctor, lint, names
from tagship.cli.session import Session, open_session
from tagship.policy.config import load_config
from tagship.release import steps
from tagship.release.options import Options
from tagship.release.runner import run_steps
from tagship.release.step import open_tools
from tagship.runs.run import read_run
from tagship.system.console import Console
from tagship.system.disk import told
from tagship.system.errors import ReleaseError, UsageError

from tests.conftest import GitFolder

REPOSITORY = Path(__file__).parents[2]
RUN = "examples/avro/adapters/phi3avro-minimal-r16-a32-e6-20250914-132416"
BASE = "examples/avro/base"
OF_RUN = ("adapter_config.json", "trainer_state.json", "experiment_metadata.json", "generation_config.json")
OF_BASE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md")
INDEX = "model.safetensors.index.json"
FILES = [*(f"{RUN}/{name}" for name in OF_RUN), *(f"{BASE}/{name}" for name in (*OF_BASE, INDEX)), "release.toml"]
STATE = {"log_history": [{"loss": 1.0}], "num_train_epochs": 2, "train_batch_size": 1, "epochs": 6, "dataset": "x"}

odd = st.one_of(
    st.sampled_from([None, True, 0, -1, 3.5, float("nan"), float("inf"), 10**400, 10**19, "", "\0", "\ud800", "../x"]),
    st.sampled_from(["a\nb", "é" * 300, "0001-01-01T00:00:00+23:59", [], {}, [None], [[]], {"": {}}, [float("nan")]]),
    st.text(max_size=4),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2), max_leaves=4),
)
contents = st.one_of(
    st.sampled_from([b"", b"null", b"[]", b"1", b"\xff\xfe\0", b"{", b"NaN", b'{"a":1e999}', b"\xef\xbb\xbf{}", b"\0"]),
    st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b'{"a":' * 900 + b"1" + b"}" * 900, b'{"a":' + b"9" * 5000]),
    st.sampled_from([b"a=" + b"[" * 20_000, b"a=" + b"9" * 6000, b"a." * 3000 + b"b=1", b"---\na: [" + b"[" * 9000]),
    st.binary(max_size=12),
)
bounded = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=int(os.environ.get("TAGSHIP_EXAMPLES", "15")),
)


@pytest.fixture(scope="module")
def example_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped example, committed."""
    folder = tmp_path_factory.mktemp("example")
    policy = (REPOSITORY / "release.toml").read_text(encoding="utf-8").partition("[evaluate]")[0]
    (folder / "release.toml").write_text(policy, encoding="utf-8")
    for part in ("base", "adapters"):
        shutil.copytree(REPOSITORY / "examples/avro" / part, folder / "examples/avro" / part)
    git = GitFolder(folder=folder)
    git.git("init", "--quiet", "--initial-branch=main")
    git.git("config", "user.name", "Ada")
    git.git("config", "user.email", "ada@example.org")
    git.commit("feat: train")
    return folder


@contextmanager
def holding(path: Path, content: bytes) -> Iterator[None]:
    """A file with another content, until the block ends."""
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


def places(document: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document, the document itself included."""
    yield here
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in list(items)[:30]:
        yield from places(value, (*here, key))


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A document with another value in a place."""
    if not place:
        return value
    first, *rest = place
    items = document.items() if isinstance(document, dict) else enumerate(document)
    made = {key: changed(held, tuple(rest), value) if key == first else held for key, held in items}
    return made if isinstance(document, dict) else list(made.values())


def gates(session: Session) -> Any:
    """What a release looks at before it exports."""
    plan = session.plan()
    with open_tools(plan, session.repository, session.console) as tools:
        run_steps((steps.GATES, steps.BASE, steps.NAMES, steps.FIT), plan, tools)


VERBS: dict[str, Callable[[Session], Any]] = {
    "runs": names.runs,
    "plan": lambda session: session.plan().document(),
    "doctor": doctor.diagnose,
    "doctor --run": doctor.examine,
    "lint": lambda session: lint.lint(session, None, None),
    "gates": gates,
}


def read_or_refused(folder: Path, verb: str) -> None:
    """A verb ends with a document that is JSON, or is refused, by ReleaseError or an error of the system that is told
    as one; anything else is a traceback."""
    run = RUN.rpartition("/")[2] if verb == "doctor --run" else None
    try:
        with open_session(str(folder / "release.toml"), Options(run=run), Console(interactive=False)) as session:
            document = VERBS[verb](session)
        json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    except ReleaseError as error:
        assert str(error)
    except OSError as error:
        assert told(error) is not None, error


@pytest.mark.slow
@bounded
@given(st.sampled_from(FILES), st.sampled_from(sorted(VERBS)), contents)
def test_any_bytes(example_project: Path, file: str, verb: str, content: bytes) -> None:
    """No bytes in any file that a verb reads end in a traceback."""
    with holding(example_project / file, content):
        read_or_refused(example_project, verb)


@pytest.mark.slow
@bounded
@given(st.data(), st.sampled_from([file for file in FILES if file.endswith(".json")]), st.sampled_from(sorted(VERBS)))
def test_any_value(example_project: Path, data: st.DataObject, file: str, verb: str) -> None:
    """No value in the place of another one does, in files that are JSON."""
    path = example_project / file
    document = json.loads(path.read_bytes()) if path.exists() else STATE
    place = data.draw(st.sampled_from(list(places(document))))
    with holding(path, json.dumps(changed(document, place, data.draw(odd))).encode()):
        read_or_refused(example_project, verb)


@bounded
@given(st.sampled_from(["adapter_config.json", "trainer_state.json", "experiment_metadata.json"]), st.data())
def test_any_run(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """A run is read or refused, and what it recorded can be written again as JSON, and as text."""
    naming = load_config(REPOSITORY / "release.toml").naming
    run = tmp_path / "run"
    shutil.copytree(REPOSITORY / RUN, run, dirs_exist_ok=True)
    document = json.loads((run / name).read_bytes()) if (run / name).exists() else STATE
    place = data.draw(st.sampled_from(list(places(document))))
    with holding(run / name, json.dumps(changed(document, place, data.draw(odd))).encode()):
        try:
            found = read_run(run, naming)
        except ReleaseError:
            return
        json.dumps(found.recorded, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("history", [None, [], [None], [{"loss": float("nan")}], {}, "x", [[]], [{"step": 1}]])
def test_any_history(tmp_path: Path, history: Any) -> None:
    """A trainer's history may be anything: a loss that is no number is not recorded."""
    naming = load_config(REPOSITORY / "release.toml").naming
    run = shutil.copytree(REPOSITORY / RUN, tmp_path / "run")
    (run / "experiment_metadata.json").unlink(missing_ok=True)
    (run / "trainer_state.json").write_text(json.dumps({"num_train_epochs": 3, "log_history": history}))
    assert read_run(run, naming).recorded == {"epochs": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 20_000, "nested"),
        ("a = " + "9" * 6000, "not valid TOML"),
        ('[project]\nnamespace = "a\\u0000b"', "project.namespace must not have the character U+0000"),
        ('[project]\nnamespace = "a"\nruns = "\\u0000"', "project.runs must not have the character U+0000"),
        (
            "[formats.ollama]\n[verify.limits.q2_k]\nkl = " + "9" * 400,
            "verify.limits.q2_k.kl must be a number above zero",
        ),
        ("\udcff", "not valid TOML"),
    ],
)
def test_absurd_policies(tmp_path: Path, text: str, words: str) -> None:
    """What is absurd in a policy is a mistake in it, as any other."""
    (tmp_path / "release.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=r"^release\.toml") as refused:
        load_config(tmp_path / "release.toml")
    assert words in str(refused.value)


def test_folder_for_a_file(tmp_path: Path) -> None:
    """A folder where a file is expected is told as one."""
    run = shutil.copytree(REPOSITORY / RUN, tmp_path / "run")
    (run / "adapter_config.json").unlink()
    (run / "adapter_config.json").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        read_run(run, load_config(REPOSITORY / "release.toml").naming)
    assert str(told(raised.value)).endswith("adapter_config.json is a folder, where a file is expected")
