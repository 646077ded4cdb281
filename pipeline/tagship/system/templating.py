"""The project's Jinja templates: its own `templates/` first, then those that tagship ships."""

import html
import json
from pathlib import Path
from typing import Any

import jinja2

from tagship.system.errors import ReleaseError

_REPOSITORY = Path(__file__).parents[3] / "templates"
_INSTALLED = Path(__file__).parents[1] / "_shipped" / "templates"


def shipped_folder() -> Path:
    """Where tagship's own templates are: in its repository, or beside the installed package."""
    return _INSTALLED if _INSTALLED.is_dir() else _REPOSITORY


class Templates:
    """Renders templates by name; a variable that a template asks for and nobody gave is an error."""

    def __init__(self, project: Path) -> None:
        folders = dict.fromkeys([project / "templates", shipped_folder()])
        self._loader = jinja2.FileSystemLoader(list(folders))
        self._environment = jinja2.Environment(
            loader=self._loader,
            undefined=jinja2.StrictUndefined,
            autoescape=False,  # the output is Markdown, YAML and Modelfiles, not HTML
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["human_size"] = human_size
        self._environment.filters["plain"] = plain
        self._environment.filters["quoted"] = quoted

    def source(self, name: str) -> str:
        """The text of a file in templates/ as it is. Raises ReleaseError when there is none or it is no text."""
        try:
            return self._loader.get_source(self._environment, name)[0]
        except jinja2.TemplateNotFound as error:
            raise _missing(error) from None
        except UnicodeDecodeError as error:
            raise ReleaseError(f"the template {name} is not UTF-8: {error}") from None

    def render(self, name: str, /, **values: Any) -> str:
        """The text of a template. Raises ReleaseError that names the template and the problem."""
        try:
            return self._environment.get_template(name).render(values)
        except jinja2.TemplateNotFound as error:
            raise _missing(error) from None
        except UnicodeDecodeError as error:
            raise ReleaseError(f"the template {name} is not UTF-8: {error}") from None
        except jinja2.TemplateError as error:
            line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            raise ReleaseError(f"the template {name}{line} cannot be rendered: {error}") from None


def _missing(error: jinja2.TemplateNotFound) -> ReleaseError:
    return ReleaseError(f"there is no template {error.name!r} in templates/")


def human_size(size: int) -> str:
    """Bytes as people read them: 1.5 GB (powers of ten, as the Hub shows them)."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if round(amount, 1) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def quoted(text: str) -> str:
    """Text in double quotes, as JSON and a Modelfile write it."""
    return json.dumps(text, ensure_ascii=False)


def plain(value: Any) -> str:
    """A value as Markdown shows it letter by letter: on one line, and neither HTML nor a table's cell begins in it."""
    text = html.escape(" ".join(str(value).split()).replace("\\", "\\\\"), quote=False)
    return text.replace("|", "\\|").replace("`", "\\`")
