"""`tagship`: the Invoke tasks as a console command, for repositories without a tasks.py."""

import importlib.util
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from invoke import Collection, Exit, Program, Task
from invoke.exceptions import ParseError

_REPOSITORY = Path(__file__).parents[3] / "tasks.py"
_INSTALLED = Path(__file__).parents[1] / "_shipped" / "tasks.py"


class _Program(Program):
    def parse_tasks(self) -> None:
        try:
            super().parse_tasks()
        except ParseError as error:  # Invoke itself would end with 1, which means a failed release
            raise Exit(str(error), code=2) from None


def main() -> None:
    """Run a task; mistakes in the options end with exit code 2."""
    _Program(name="tagship", binary="tagship", namespace=collection(), version=version("tagship")).run()


def collection(own: Mapping[str, object] = MappingProxyType({})) -> Collection:
    """All tasks, as tagship's tasks.py has them: another repository's `namespace`, to which it may add its own.

    `own` are a tasks.py's `globals()`: the tasks in it are there, too, and in place of those that have their names.
    """
    path = _INSTALLED if _INSTALLED.is_file() else _REPOSITORY
    spec = importlib.util.spec_from_file_location("tagship_tasks", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shipped: Collection = module.namespace
    tasks = [task for task in own.values() if isinstance(task, Task)]
    taken = {name for task in tasks for name in map(shipped.transform, (task.name, *task.aliases))}
    namespace = Collection(*(task for name, task in shipped.tasks.items() if name not in taken))
    for task in tasks:
        namespace.add_task(task)
    return namespace
