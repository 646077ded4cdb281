"""Modelfiles, held by Go's own template language as Ollama runs it; skipped where there is no Go."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tagship.formats.ollama.go_template import go_literal
from tagship.formats.ollama.modelfile import quoted
from tagship.formats.ollama.orders import Message, conversations
from tagship.system.templating import Templates

from tests.formats.test_go_template import MODELS, Model

Ollama = Callable[[str, Sequence[Sequence[Message]]], dict[str, Any]]


@pytest.fixture(scope="session")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Ollama:
    """A function that renders conversations by the TEMPLATE of a Modelfile, as Ollama does."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed (Debian: golang-go): its text/template is what Ollama renders prompts by")
    program = tmp_path_factory.mktemp("go") / "ollama"
    source = Path(__file__).with_name("ollama_go") / "main.go"
    subprocess.run([go, "build", "-o", str(program), str(source)], check=True, cwd=program.parent)

    def run(modelfile: str, talks: Sequence[Sequence[Message]]) -> dict[str, Any]:
        asked = json.dumps({"modelfile": modelfile, "conversations": list(map(list, talks))})
        done = subprocess.run([str(program)], input=asked, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    return run


def modelfile(**given: Any) -> str:
    return Templates(Path("nowhere")).render("ollama/Modelfile.j2", gguf="m.gguf", quote=quoted, **given)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_ollama_makes_the_models_own_prompt(ollama: Ollama, model: Model) -> None:
    """Every order of messages becomes the very text of the model's own template, by Go, from the Modelfile."""
    expected: list[tuple[list[Message], str]] = []
    for messages in conversations():
        try:
            expected.append((messages, model.render(messages)))
        except ValueError:  # one that the model was never meant for
            continue
    talks, prompts = zip(*expected, strict=True)
    text = modelfile(template=model.derive().go(), parameters={"stop": [model.eos]})
    said = ollama(text, talks)
    assert said["prompts"] == list(prompts)
    assert said["stops"] == [model.eos]


# Letters that end values, begin actions, or are lost.
LETTERS = ('"', "\n", "{", "}", " ", "a", "\\", "\t", "\u00a0", "\r", "\u4e2d", "#")
TEXTS = st.text(st.sampled_from(LETTERS), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, stops=st.lists(TEXTS, max_size=3))
def test_whatever_a_modelfile_holds(ollama: Ollama, text: str, stops: list[str]) -> None:
    """Text of a template, and stops, are read as they are; a stop that no Modelfile holds is left out of it."""
    template = "{{ range .Messages }}" + go_literal(text) + "{{ .Content }}{{ end }}"
    said = ollama(modelfile(template=template, parameters={"stop": stops}), [[{"role": "user", "content": "x"}]])
    assert said["prompts"] == [text + "x"]
    assert (said["stops"] or []) == [stop for stop in stops if quoted(stop) is not None]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("</s>", '"</s>"'),
        (" a ", '" a "'),
        ('say "x"', '"""say "x""""'),
        ('"', '"""""""'),
        ("a\nb", '"""a\nb"""'),
        ('"""', '"""""""""'),
        ('""" \nb', None),
        ("a\u00a0b", None),
        ("a\rb", None),
    ],
)
def test_quoted(text: str, value: str | None) -> None:
    """Values in quotes that do not end within them, or none."""
    assert quoted(text) == value
