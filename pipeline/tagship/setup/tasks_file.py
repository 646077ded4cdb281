"""A repository's tasks.py: three lines where there is none, an addition where that leaves its tasks as they are."""

import ast
from collections.abc import Iterator

from tagship.setup.changes import WRITE, Change, appended, keep, write

TASKS_FILE = "tasks.py"
_NEW = '''"""The tasks of tagship, as `invoke --list` shows them. Tasks of your own: namespace.add_task(…)."""

from tagship.cli.program import collection

namespace = collection()
'''
_ADDITION = """

# The tasks of tagship beside those above, which come first where a name is the same.
from tagship.cli.program import collection  # noqa: E402

namespace = collection(globals())
"""
_BY_HAND = "add by hand: from tagship.cli.program import collection, and its tasks to your namespace"
_MODULE = "tagship.cli.program"
# What Invoke looks for in a tasks.py before it takes the tasks in it.
_NAMESPACES = ("namespace", "ns")


def tasks_change(present: str | None, *, is_package: bool = False) -> Change:
    """What becomes of a tasks.py with a text, None where there is none; `is_package` is whether there is a folder of
    that name in its place. One that an addition could change is left."""
    if is_package:
        return keep("tasks/", f"it is a package of tasks; {_BY_HAND}")
    if present is None:
        return write(TASKS_FILE, _NEW, "all tasks, for invoke")
    try:
        tree = ast.parse(present)
    except (SyntaxError, ValueError):
        return keep(TASKS_FILE, "it is no Python that can be read, so that nothing can safely be added to it")
    if any(isinstance(node, ast.ImportFrom) and node.module == _MODULE for node in ast.walk(tree)):
        return keep(TASKS_FILE, "it has the tasks already")
    names = set(_names(tree))
    if taken := next((name for name in (*_NAMESPACES, "collection") if name in names), None):
        return keep(TASKS_FILE, f"it has a {taken!r} of its own, so that nothing can safely be added to it; {_BY_HAND}")
    return appended(TASKS_FILE, present, _ADDITION, "all tasks, beside its own")


def is_ours(present: str | None, change: Change) -> bool:
    """Whether `invoke` has all of our tasks, by their plain names, once a change is made."""
    return change.what == WRITE or present == _NEW


def _names(tree: ast.Module) -> Iterator[str]:
    """The names that a module gives something."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Import() | ast.ImportFrom():
                # `*` may bring anything, such as a namespace.
                yield from (_NAMESPACES[0] if name.name == "*" else name.asname or name.name for name in node.names)
