"""Templates of the project and of tagship, and the filters that they use."""

import pickle
from pathlib import Path

import pytest
from tagship.system.errors import ReleaseError
from tagship.system.templating import Templates, human_size, plain, quoted, shipped_folder

# What the templates of code that uses a model are given.
USED = {
    "repo_id": "acme/model",
    "revision": None,
    "trust_remote_code": False,
    "question": "Hello",
    "quantized": False,
    "chats": True,
    "nf4": None,
}


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    (tmp_path / "templates" / "cards").mkdir(parents=True)
    return Templates(tmp_path)


def write(folder: Path, name: str, text: str) -> None:
    path = folder / "templates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_shipped_templates() -> None:
    """tagship ships a card for each of its formats."""
    assert {path.parent.name for path in shipped_folder().glob("*/card.md.j2")} == {
        "vllm",
        "ollama",
        "lora",
        "lora-gguf",
        "mlx",
    }


def test_shipped_template_renders(templates: Templates) -> None:
    """A template of tagship is found from any project."""
    assert "acme/model" in templates.render("lora/usage.py.j2", **USED)


def test_template_of_the_project_goes_first(tmp_path: Path, templates: Templates) -> None:
    """A project's template of the same name replaces tagship's, and others stay."""
    write(tmp_path, "lora/usage.py.j2", "ours: {{ repo_id }}")
    assert templates.render("lora/usage.py.j2", repo_id="acme/model") == "ours: acme/model"
    assert "acme/model" in templates.render("vllm/usage.py.j2", **USED)


def test_templates_of_another_process(tmp_path: Path) -> None:
    """Templates can be handed to another process, which finds the same: a project's own, and those of formats."""
    write(tmp_path, "lora/usage.py.j2", "ours: {{ repo_id }}")
    (tmp_path / "form").mkdir()
    (tmp_path / "form/card.md.j2").write_text("{{ 2048 | human_size }}")
    given = pickle.loads(pickle.dumps(Templates(tmp_path, {"form": tmp_path / "form"})))
    assert given.render("lora/usage.py.j2", repo_id="x") == "ours: x"
    assert given.render("form/card.md.j2") == human_size(2048)


def test_text_is_not_escaped(tmp_path: Path, templates: Templates) -> None:
    """What is rendered is text and not HTML, with its last line end, and lines of statements leave no trace."""
    write(
        tmp_path, "x.j2", "{% for line in lines %}\n  {% if line %}\n- {{ line }}\n  {% endif %}\n{% endfor %}\nend\n"
    )
    assert templates.render("x.j2", lines=["<a> & 'b'", "", "ü"]) == "- <a> & 'b'\n- ü\nend\n"


def test_source(tmp_path: Path, templates: Templates) -> None:
    """The text of a template file can be had as it is."""
    write(tmp_path, "ollama/mine", "{{ .Prompt }}\n")
    assert templates.source("ollama/mine") == "{{ .Prompt }}\n"


@pytest.mark.parametrize("name", ["missing.j2", "../release.toml", "cards/../../release.toml"])
def test_missing_template(tmp_path: Path, templates: Templates, name: str) -> None:
    """A template that is not there, or not below templates/, is told by its name."""
    (tmp_path / "release.toml").write_text("x")
    for read in (templates.render, templates.source):
        with pytest.raises(ReleaseError, match=r"there is no template '.*' in templates/"):
            read(name)


def test_missing_included_template(tmp_path: Path, templates: Templates) -> None:
    """A missing template that another one includes is told by its own name."""
    write(tmp_path, "x.j2", "{% include 'cards/none.j2' %}")
    with pytest.raises(ReleaseError, match=r"there is no template 'cards/none\.j2'"):
        templates.render("x.j2")


def test_missing_variable(tmp_path: Path, templates: Templates) -> None:
    """A variable that nobody gave is an error that names template and variable, never a blank."""
    write(tmp_path, "x.j2", "Hello {{ naem }}")
    with pytest.raises(ReleaseError, match=r"the template x\.j2 cannot be rendered: 'naem' is undefined"):
        templates.render("x.j2", name="Ada")


def test_missing_attribute(tmp_path: Path, templates: Templates) -> None:
    """An attribute that a value has not is an error too."""
    write(tmp_path, "x.j2", "{{ run.naem }}")
    with pytest.raises(ReleaseError, match="has no attribute 'naem'"):
        templates.render("x.j2", run={"name": "x"})


def test_mistake_in_a_template(tmp_path: Path, templates: Templates) -> None:
    """A mistake in the template's language is told with its line."""
    write(tmp_path, "x.j2", "one\n{% if %}\n")
    with pytest.raises(ReleaseError, match=r"the template x\.j2, line 2 cannot be rendered"):
        templates.render("x.j2")


def test_template_that_is_no_text(tmp_path: Path, templates: Templates) -> None:
    """A template that is not UTF-8 is told by its name."""
    (tmp_path / "templates" / "x.j2").write_bytes(b"\xff\xfe")
    for read in (templates.render, templates.source):
        with pytest.raises(ReleaseError, match=r"the template x\.j2 is not UTF-8"):
            read("x.j2")


CHECKED = {
    "good.j2": "{% block a %}{% endblock %}{{ title }}{% for x in [1] %}{{ x }}{{ loop.index }}{% endfor %}"
    "{% set y = 1 %}{{ y }}",
    "child.j2": '{% extends "good.j2" %}{% block a %}{{ super() }}{{ self.a() }}{% endblock %}',
    "set.j2": '{% extends "good.j2" %}{% set z = 2 %}{% block a %}{{ z }}{% endblock %}',
    "macros.j2": '{% import "child.j2" as m %}{% from "child.j2" import n as o %}{% macro p(q) %}{{ q }}{% endmacro %}'
    "{{ m }}{{ o }}{{ p(1) }}{{ range(3) }}",
    "optional.j2": "{% if colour is defined %}{{ colour }}{% endif %}{{ size | default(1) }}{{ title or colour }}",
    "includes.j2": '{% include "none.j2" ignore missing %}{% include ["none.j2", "good.j2"] %}'
    '{% if false %}{% include "none.j2" %}{{ colour }}{% endif %}{{ colour if false else 1 }}'
    '{% with a = 1 %}{% include "row.j2" %}{{ a }}{% endwith %}',
    "row.j2": "{{ a }}",
    "overrides.j2": '{% extends "block.j2" %}{% block a %}{{ title }}{% endblock %}{{ colour }}',
    "block.j2": "{% block a %}{{ titel }}{% endblock %}",
    "wrong.j2": "{{ titel }}",
    "misspelt.j2": '{% extends "child.j2" %}{% block limitz %}{% endblock %}',
    "wrong-child.j2": '{% extends "wrong.j2" %}',
    "malformed.j2": "one\n{% if %}",
    "malformed-child.j2": '{% extends "malformed.j2" %}',
    "lost.j2": '{% extends "nowhere.j2" %}',
    "itself.j2": '{% extends "itself.j2" %}',
}


@pytest.fixture
def checked(tmp_path: Path, templates: Templates) -> Templates:
    for name, text in CHECKED.items():
        write(tmp_path, name, text)
    return templates


@pytest.mark.parametrize(
    "name", ["good.j2", "child.j2", "set.j2", "macros.j2", "optional.j2", "includes.j2", "overrides.j2"]
)
def test_check_of_what_may_be_rendered(checked: Templates, name: str) -> None:
    """Whatever a template sets, imports, defines or may do without need not be given."""
    checked.check(name, ["title"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("wrong.j2", r"wrong\.j2 asks for 'titel'"),
        ("wrong-child.j2", r"the template wrong\.j2 asks for 'titel'"),
        ("misspelt.j2", r"the template misspelt\.j2 replaces the block 'limitz', which good\.j2 does not have"),
        ("block.j2", r"block\.j2 asks for 'titel'"),
        ("malformed.j2", r"malformed\.j2, line 2"),
        ("malformed-child.j2", r"malformed\.j2, line 2"),
        ("lost.j2", r"no template 'nowhere\.j2'"),
        ("none.j2", r"no template 'none\.j2'"),
        ("itself.j2", r"itself\.j2 extends itself"),
    ],
)
def test_check_of_what_cannot_be_rendered(checked: Templates, name: str, problem: str) -> None:
    """A mistake that would end a release at its card is told from the template's text."""
    with pytest.raises(ReleaseError, match=problem):
        checked.check(name, ["title"])


def test_extending_what_is_replaced(tmp_path: Path, templates: Templates) -> None:
    """A project's template can extend the one that it replaces."""
    write(tmp_path, "lora/usage.py.j2", '{% extends "tagship/lora/usage.py.j2" %}')
    assert templates.render("lora/usage.py.j2", **USED).startswith("from peft import")
    templates.check("lora/usage.py.j2", list(USED))


def test_expression_that_cannot_be_computed(tmp_path: Path, templates: Templates) -> None:
    """Whatever an expression raises is told with the template's name."""
    write(tmp_path, "x.j2", "{{ title + 1 }}")
    with pytest.raises(ReleaseError, match=r"the template x\.j2 cannot be rendered: TypeError"):
        templates.render("x.j2", title="a")


def test_templates_of_formats(tmp_path: Path) -> None:
    """A format's own folder is called by its name, after the project's and before tagship's."""
    brought = tmp_path / "package"
    brought.mkdir()
    (brought / "card.md.j2").write_text("theirs")
    (brought / "usage.py.j2").write_text("theirs too")
    templates = Templates(tmp_path, {"lora": brought})
    assert [templates.render(f"lora/{name}") for name in ("card.md.j2", "usage.py.j2")] == ["theirs", "theirs too"]
    write(tmp_path, "lora/card.md.j2", "ours")
    assert Templates(tmp_path, {"lora": brought}).render("lora/card.md.j2") == "ours"


def test_filters(tmp_path: Path, templates: Templates) -> None:
    """Templates have filters for sizes, for cells of tables and for quoted text."""
    write(tmp_path, "x.j2", "{{ size | human_size }} | {{ text | plain }} | {{ text | quoted }}")
    assert templates.render("x.j2", size=1_500_000, text='a|b\n"c"') == '1.5 MB | a\\|b "c" | "a|b\\n\\"c\\""'


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000_000, "1.5 GB"),
        (999_949, "999.9 kB"),
        (999_999, "1.0 MB"),
        (999_999_999_999, "1.0 TB"),
        (2_000_000_000_000_000, "2000.0 TB"),
    ],
)
def test_human_size(size: int, shown: str) -> None:
    """Sizes are in powers of ten, with one digit after the point."""
    assert human_size(size) == shown


def test_quoted() -> None:
    """Quoted text keeps letters beyond ASCII and escapes quotes, backslashes and line ends."""
    assert quoted('ü "x" \\ \n') == '"ü \\"x\\" \\\\ \\n"'


def test_plain() -> None:
    """A cell is on one line, and a bar in it ends no cell."""
    assert plain(" a |\n b ") == "a \\| b"
    assert plain(3) == "3"
