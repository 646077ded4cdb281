"""Prompts as users run them: what llama.cpp makes of conversations by the template in the GGUF; what Ollama gets."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project

QUESTIONS = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + MESSAGE + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
TOOLS = (
    "{{ bos_token }}{% if tools %}<|system|>\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|end|>\n"
    "{% endif %}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}{{ '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def with_template(project: Project, template: str) -> Path:
    """Have the run be trained with a chat template; returns the folder that its GGUF is exported into."""
    (project.folder / "examples" / "avro" / "adapters" / NEWEST_RUN / "chat_template.jinja").write_text(template)
    return project.folder / "exports" / f"{NEWEST_RUN}-ollama-{AT}"


def test_template_that_knows_tools(project: Project) -> None:
    """llama.cpp makes the model's own prompts of conversations with tools; Ollama is left the GGUF's template, which
    knows them too, and the release says so."""
    export = with_template(project, TOOLS)
    done = project.invoke("release", "--format", "ollama", "--at", AT, "--json")
    assert done.code == 0, done.stderr
    assert "Ollama takes the template in the GGUF: the model's own chat template knows tools, tool calls" in done.stderr
    (made,) = done.document["formats"]
    assert made["verified"]["other_prompts"] == []
    assert not (export / "template").exists()
    assert "TEMPLATE" not in (export / "Modelfile").read_text()
    assert json.loads((export / "params").read_text())["stop"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("message['content'].swapcase().swapcase()", "llama.cpp cannot read the chat template in the GGUF"),
        (
            "message['content'] ~ (1.0 | string)",
            "the ollama q4_k_m export does not make the model's prompt of a question: it makes",
        ),
    ],
)
def test_template_that_llama_cpp_reads_otherwise(project: Project, content: str, problem: str) -> None:
    """A GGUF whose prompts would be others than those that the model was trained with is not published."""
    with_template(project, QUESTIONS.replace("MESSAGE", content))
    done = project.invoke("release", "--format", "ollama", "--at", AT)
    assert done.code == 1
    assert problem in done.stderr
    assert "simplify chat_template.jinja" in done.stderr
    assert "Publish" not in done.stderr
