"""The project's Jinja templates, in the order in which they replace each other."""

import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tagship.system.errors import ReleaseError
from tagship.system.toml_reader import hint

# Before the name of a template, what it is without the project's own.
_REPLACED = "tagship"
# Tests and filters of Jinja that take a variable which is not there.
_DO_WITHOUT = ("defined", "undefined", "default", "d")
_REPOSITORY = Path(__file__).parents[3] / "templates"
_INSTALLED = Path(__file__).parents[1] / "_shipped" / "templates"
if TYPE_CHECKING:  # most tasks render nothing
    import jinja2
    from jinja2 import nodes


def shipped_folder() -> Path:
    """Where tagship's own templates are: in its repository, or beside the installed package."""
    return _INSTALLED if _INSTALLED.is_dir() else _REPOSITORY


class Templates:
    """Renders templates by name; a variable that a template asks for and nobody gave is an error.

    A project's own `templates/` come first, then the folders that formats bring, whose files are called `FORMAT/…`,
    then those that tagship ships. What a project replaces is still there as `tagship/NAME`, so that it can be extended.
    """

    def __init__(self, project: Path, of_formats: Mapping[str, Path] = MappingProxyType({})) -> None:
        self._made_of = project, dict(of_formats)

    @cached_property
    def _loader(self) -> "jinja2.BaseLoader":
        import jinja2

        project, of_formats = self._made_of
        own = jinja2.FileSystemLoader(project / "templates")
        brought = jinja2.PrefixLoader({name: jinja2.FileSystemLoader(folder) for name, folder in of_formats.items()})
        shipped = jinja2.FileSystemLoader(shipped_folder())
        replaced = jinja2.ChoiceLoader([brought, shipped])
        today = jinja2.ChoiceLoader([own, _renamed(own, _former_name), replaced])
        return jinja2.ChoiceLoader([today, _renamed(today, _name_today), jinja2.PrefixLoader({_REPLACED: replaced})])

    @cached_property
    def _environment(self) -> "jinja2.Environment":
        import jinja2

        environment = jinja2.Environment(
            loader=self._loader,
            undefined=jinja2.StrictUndefined,
            autoescape=False,  # the output is Markdown, YAML and Modelfiles, not HTML
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {each.__name__: each for each in (human_size, figure, plain, quoted, fenced)}
        return environment

    def __reduce__(self) -> tuple[Any, ...]:
        return Templates, self._made_of

    def source(self, name: str) -> str:
        """The text of a file in templates/ as it is. Raises ReleaseError when there is none or it is no text."""
        with _told(name):
            return self._loader.get_source(self._environment, name)[0]

    def render(self, name: str, /, **values: Any) -> str:
        """The text of a template. Raises ReleaseError that names the template and the problem."""
        with _told(name):
            return self._environment.get_template(name).render(values)

    def check(self, name: str, given: Collection[str]) -> None:
        """Raise ReleaseError for what is sure to end `render`, hours later: a template, or one that it extends, that is
        not there, is malformed or extends itself; a variable that is asked for in any case, and is not given."""
        from jinja2 import nodes

        known, asked, overridden = set(given), dict[str, str](), set[str]()
        replacing: dict[str, str] = {}
        part, seen = name, list[str]()
        while part:
            if part in seen:
                raise ReleaseError(
                    f"the template {name} extends itself",
                    remedy=f'the one that it replaces is {{% extends "{_REPLACED}/{part}" %}}',
                )
            seen.append(part)
            with _told(part):
                tree = self._environment.parse(self._loader.get_source(self._environment, part)[0])
                self._environment.get_template(part)
            known |= {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
            known |= {node.target for node in tree.find_all(nodes.Import)} | set(_imported(tree))
            known |= {node.name for node in tree.find_all(nodes.Macro)} | {"self", "super", *self._environment.globals}
            extends = next(tree.find_all(nodes.Extends), None)
            # What a template that extends another one says outside of blocks is not rendered.
            said = tree.body if extends is None else list(tree.find_all(nodes.Block))
            for used in _used(said, overridden):
                asked.setdefault(used, part)
            blocks = {block.name for block in tree.find_all(nodes.Block)}
            overridden |= blocks
            replacing = {name: place for name, place in replacing.items() if name not in blocks}
            if extends is not None:
                replacing |= dict.fromkeys((node.name for node in tree.body if isinstance(node, nodes.Block)), part)
            elif replacing:
                name, place = min(replacing.items())
                raise ReleaseError(
                    f"the template {place} replaces the block {name!r}, which {part} does not have{hint(name, blocks)}",
                    remedy=f"its blocks are {', '.join(sorted(blocks))}",
                )
            parent = extends.template if extends else None
            part = parent.value if isinstance(parent, nodes.Const) and isinstance(parent.value, str) else ""
        if wrong := sorted(asked.keys() - known):
            raise ReleaseError(
                f"the template {asked[wrong[0]]} asks for {wrong[0]!r}, which it is not given",
                remedy=f"it is given {', '.join(sorted(given))}",
            )


def _renamed(loader: "jinja2.BaseLoader", name_of: Callable[[str], str | None]) -> "jinja2.BaseLoader":
    """Another loader's templates, under other names."""
    import jinja2

    environment = jinja2.Environment()  # which none of ours looks at

    def load(template: str) -> Any:
        name = name_of(template)
        return None if name is None else loader.get_source(environment, name)

    return jinja2.FunctionLoader(load)


def _former_name(name: str) -> str | None:
    """Where a project may have its own card since version 0.1."""
    folder, _, file = name.rpartition("/")
    return f"cards/{folder}.md.j2" if folder and file == "card.md.j2" else None


def _name_today(former: str) -> str | None:
    """What a template of a project, that was made for version 0.1, means by a card's name."""
    found = re.fullmatch(r"cards/([^/]+)\.md\.j2", former)
    return f"{found[1]}/card.md.j2" if found else None


def _imported(tree: "nodes.Template") -> Iterator[str]:
    from jinja2 import nodes

    for imported in tree.find_all(nodes.FromImport):
        yield from (name if isinstance(name, str) else name[1] for name in imported.names)


def _used(said: "Iterable[nodes.Node]", overridden: Collection[str]) -> Iterator[str]:
    """The variables that a template uses whatever it is given: not inside of a condition or a loop, nor behind an `or`,
    nor with a test or a filter that does without them."""
    from jinja2 import nodes

    for node in said:
        match node:
            case nodes.Name(ctx="load"):
                yield node.name
            case nodes.Block() if node.name in overridden:
                pass
            case nodes.If() | nodes.CondExpr() | nodes.And() | nodes.Or():
                first = node.left if isinstance(node, nodes.And | nodes.Or) else node.test
                yield from _used([first], overridden)
            case nodes.For():
                yield from _used([node.iter], overridden)
            case nodes.Test() | nodes.Filter() if node.name in _DO_WITHOUT:
                pass
            case nodes.Macro() | nodes.CallBlock() | nodes.With():
                pass
            case nodes.Include() | nodes.Import() | nodes.FromImport():
                pass
            case _:
                yield from _used(node.iter_child_nodes(), overridden)


@contextmanager
def _told(name: str) -> Iterator[None]:
    import jinja2

    try:
        yield
    except jinja2.TemplateNotFound as error:
        raise _missing(error) from None
    except UnicodeDecodeError as error:
        raise ReleaseError(f"the template {name} is not UTF-8: {error}") from None
    except jinja2.TemplateError as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise ReleaseError(f"the template {name}{line} cannot be rendered: {error}") from None
    except Exception as error:  # whatever an expression in a project's own template raises
        raise ReleaseError(f"the template {name} cannot be rendered: {error!r}") from error


def _missing(error: "jinja2.TemplateNotFound") -> ReleaseError:
    return ReleaseError(f"there is no template {error.name!r} in templates/")


def figure(value: float | None, kind: str = "") -> str:
    """A number of a table: of the kind "%" a share in percent; a dash for what is not known."""
    if value is None:
        return "-"
    return f"{100 * value:.4g} %" if kind == "%" else f"{value:.6g}"


def human_size(size: int) -> str:
    """Bytes as people read them: 1.5 GB (powers of ten, as the Hub shows them)."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if round(amount, 1) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def human_time(least: float, most: float) -> str:
    """A time that lies between so many seconds, as people say it."""
    if most < 10:
        return "some seconds"
    unit, size = next(((unit, size) for unit, size in (("h", 3600), ("min", 60)) if most >= 2 * size), ("s", 1))
    low, high = max(1, round(least / size)), max(1, round(most / size))
    return f"about {f'{low} to {high}' if low < high else high} {unit}"


def quoted(text: str) -> str:
    """Text in double quotes, as JSON and a Modelfile write it."""
    return json.dumps(text, ensure_ascii=False)


def fenced(text: str, language: str = "text") -> str:
    """Text as a block of code in Markdown, whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain(value: Any) -> str:
    """A value as Markdown shows it letter by letter: on one line, and neither HTML nor a table's cell begins in it."""
    text = html.escape(" ".join(str(value).split()).replace("\\", "\\\\"), quote=False)
    return text.replace("|", "\\|").replace("`", "\\`")
