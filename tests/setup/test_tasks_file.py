"""A tasks.py that is written, and one that is added to."""

import sys
from pathlib import Path

import pytest
from invoke.loader import FilesystemLoader
from tagship.setup.tasks_file import is_ours, tasks_change

OWN = '''\
from invoke import task


@task(aliases=["fit"])
def train(context):
    """Mine."""


@task
def release(context):
    """Mine, too."""
'''


def tasks_in(folder: Path, text: str) -> dict[str, str]:
    """The tasks that Invoke finds, each with its help."""
    (folder / "tasks.py").write_text(text)
    sys.modules.pop("tasks", None)
    module, _ = FilesystemLoader(start=str(folder)).load("tasks")
    sys.modules.pop("tasks", None)
    from invoke import Collection

    found = Collection.from_module(module)
    return {name: str(task.__doc__) for name, task in found.tasks.items()}


def test_a_new_one(tmp_path: Path) -> None:
    """Three lines bring all tasks."""
    change = tasks_change(None)
    assert {"release", "plan", "init"} <= tasks_in(tmp_path, change.whole).keys()
    assert is_ours(None, change) and is_ours(change.whole, tasks_change(change.whole))


def test_an_addition(tmp_path: Path) -> None:
    """Tasks of one's own stay what they are, and come first where a name is the same."""
    before = tasks_in(tmp_path, OWN)
    change = tasks_change(OWN)
    assert change.whole.startswith(OWN) and not is_ours(OWN, change)
    after = tasks_in(tmp_path, change.whole)
    assert before.items() <= after.items() and {"plan", "publish"} <= after.keys()
    assert tasks_change(change.whole).why == "it has the tasks already"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OWN + "\nns = Collection(train)\n", "a 'ns' of its own"),
        (OWN + "\nnamespace: object = None\n", "a 'namespace' of its own"),
        ("from somewhere import *\n", "a 'namespace' of its own"),
        ("def collection(): ...\n", "a 'collection' of its own"),
        ("def train(:\n", "no Python that can be read"),
    ],
)
def test_one_that_is_left(text: str, told: str) -> None:
    """Where an addition could change what is there, nothing is added, and why is told."""
    change = tasks_change(text)
    assert (change.what, change.whole) == ("leave", "")
    assert told in change.why


def test_a_package_of_tasks() -> None:
    """A folder `tasks` would be hidden by a tasks.py beside it, or hide that."""
    assert tasks_change(None, is_package=True).what == "leave"
