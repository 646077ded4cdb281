"""The project's Jinja templates, in the order in which they replace each other."""

import html
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from jinja2 import meta, nodes

from tagship.system.errors import ReleaseError

_REPOSITORY = Path(__file__).parents[3] / "templates"
_INSTALLED = Path(__file__).parents[1] / "_shipped" / "templates"


def shipped_folder() -> Path:
    """Where tagship's own templates are: in its repository, or beside the installed package."""
    return _INSTALLED if _INSTALLED.is_dir() else _REPOSITORY


class Templates:
    """Renders templates by name; a variable that a template asks for and nobody gave is an error.

    A project's own `templates/` come first, then the folders that formats bring, whose files are called `FORMAT/…`,
    then those that tagship ships.
    """

    def __init__(self, project: Path, of_formats: Mapping[str, Path] = MappingProxyType({})) -> None:
        own = jinja2.FileSystemLoader(project / "templates")
        today = jinja2.ChoiceLoader(
            [
                own,
                _Renamed(own, _former_name),
                jinja2.PrefixLoader({name: jinja2.FileSystemLoader(folder) for name, folder in of_formats.items()}),
                jinja2.FileSystemLoader(shipped_folder()),
            ]
        )
        self._loader = jinja2.ChoiceLoader([today, _Renamed(today, _name_today)])
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
        with _told(name):
            return self._loader.get_source(self._environment, name)[0]

    def render(self, name: str, /, **values: Any) -> str:
        """The text of a template. Raises ReleaseError that names the template and the problem."""
        with _told(name):
            return self._environment.get_template(name).render(values)

    def check(self, name: str, given: Collection[str]) -> None:
        """Raise ReleaseError, as `render` would hours later, for a template that is not there or is malformed, or that
        asks for a variable which is not among those given. Templates that it extends or includes are looked at, too."""
        asked: dict[str, str] = {}
        known = set(given)
        waiting, seen = [name], set[str]()
        while waiting:
            if (part := waiting.pop()) in seen:
                continue
            seen.add(part)
            with _told(part):
                tree = self._environment.parse(self._loader.get_source(self._environment, part)[0])
                self._environment.get_template(part)
            waiting += filter(None, meta.find_referenced_templates(tree))
            asked |= dict.fromkeys(meta.find_undeclared_variables(tree), part)
            known |= _made_here(tree)
        if wrong := sorted(asked.keys() - known):
            raise ReleaseError(
                f"the template {asked[wrong[0]]} asks for {wrong[0]!r}, which it is not given",
                remedy=f"it is given {', '.join(sorted(given))}",
            )


class _Renamed(jinja2.BaseLoader):
    """Another loader's templates, under other names."""

    def __init__(self, loader: jinja2.BaseLoader, name_of: Callable[[str], str | None]) -> None:
        self._templates, self._name_of = loader, name_of

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        if (name := self._name_of(template)) is None:
            raise jinja2.TemplateNotFound(template)
        return self._templates.get_source(environment, name)


def _former_name(name: str) -> str | None:
    """Where a project may have its own card since version 0.1."""
    folder, _, file = name.rpartition("/")
    return f"cards/{folder or 'base'}.md.j2" if file == "card.md.j2" else None


def _name_today(former: str) -> str | None:
    """What a template of a project, that was made for version 0.1, means by a card's name."""
    found = re.fullmatch(r"cards/([^/]+)\.md\.j2", former)
    return found and ("card.md.j2" if found[1] == "base" else f"{found[1]}/card.md.j2")


def _made_here(tree: nodes.Template) -> set[str]:
    """The names that a template sets, imports or defines itself, and those that it may do without."""
    names = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    names |= {node.name for node in tree.find_all(nodes.Macro)} | {node.target for node in tree.find_all(nodes.Import)}
    for imported in tree.find_all(nodes.FromImport):
        names |= {name if isinstance(name, str) else name[1] for name in imported.names}
    for asked in (*tree.find_all(nodes.Test), *tree.find_all(nodes.Filter)):
        if asked.name in ("defined", "undefined", "default", "d") and isinstance(asked.node, nodes.Name):
            names.add(asked.node.name)
    return names


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
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
