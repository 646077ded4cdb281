"""Which unit a process is told to do."""

import pytest
from tagship.cli.unit_index import INDEXES, unit_index
from tagship.system.errors import UsageError


@pytest.mark.parametrize(
    ("variable", "value", "index"),
    [
        ("JOB_COMPLETION_INDEX", "0", 0),
        ("SLURM_ARRAY_TASK_ID", "7", 7),
        ("AWS_BATCH_JOB_ARRAY_INDEX", "2", 2),
        ("CI_NODE_INDEX", "1", 0),
    ],
)
def test_each_service(variable: str, value: str, index: int) -> None:
    """Each service's variable says which unit it is, and is named; GitLab counts from one."""
    found = unit_index(None, {variable: value}.get)
    assert (found.index, found.said_by) == (index, variable)


def test_option_is_stronger() -> None:
    """What the command line says holds, whatever the job is."""
    found = unit_index("3", {"SLURM_ARRAY_TASK_ID": "7", "CI_NODE_INDEX": "x"}.get)
    assert (found.index, found.said_by) == (3, "--index")


def test_part_of_an_array() -> None:
    """The units of an array that is given again for some are those that it names, not counted from its least."""
    given = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "7"}
    assert unit_index(None, given.get).index == 7


def test_services_that_agree() -> None:
    """Of two services that say the same unit either is right; an empty variable says nothing."""
    agreeing = {"JOB_COMPLETION_INDEX": "1", "CI_NODE_INDEX": "2", "SLURM_ARRAY_TASK_ID": ""}
    assert unit_index(None, agreeing.get).index == 1


def test_services_that_differ() -> None:
    """Where they say different ones, both are named and nothing is guessed."""
    with pytest.raises(
        UsageError, match="JOB_COMPLETION_INDEX says unit 1 and SLURM_ARRAY_TASK_ID says unit 2"
    ) as told:
        unit_index(None, {"JOB_COMPLETION_INDEX": "1", "SLURM_ARRAY_TASK_ID": "2"}.get)
    assert told.value.remedy == "say which one with --index N"


@pytest.mark.parametrize(
    ("variable", "value", "first"),
    [("--index", "-1", 0), ("CI_NODE_INDEX", "0", 1), ("SLURM_ARRAY_TASK_ID", "\uff11", 0), ("--index", "9" * 10, 0)],
)
def test_no_number(variable: str, value: str, first: int) -> None:
    """What is no number of a unit is told with what said it, and where that counts from."""
    given = value if variable == "--index" else None
    with pytest.raises(UsageError, match=f"{variable} must be the number of a unit, from {first} on"):
        unit_index(given, {variable: value}.get)


def test_nothing_says_it() -> None:
    """Where nothing says which, all that could are named."""
    with pytest.raises(UsageError, match="which unit") as told:
        unit_index(None, {}.get)
    assert told.value.remedy and all(name in told.value.remedy for name in INDEXES)
