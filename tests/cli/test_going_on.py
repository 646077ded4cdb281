"""How a release that was stopped goes on: where there is no tag, by a command that has its time."""

import errno
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tagship.cli import shell
from tagship.cli.releases import going_on
from tagship.release.plan import Plan
from tagship.system.errors import ToolError

MOMENT = datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC)


GOES_ON = "the same command goes on where this one stopped"
STOPPED = {
    "interrupted": lambda: KeyboardInterrupt(),
    "a Hub that fails": lambda: ToolError("the Hub does not answer", remedy=f"look at the network; {GOES_ON}"),
    "a full disk": lambda: OSError(errno.ENOSPC, "no space left", "somewhere"),
}


@pytest.mark.parametrize("stopped", STOPPED)
@pytest.mark.parametrize("tagged", [True, False])
def test_what_goes_on(monkeypatch: pytest.MonkeyPatch, stopped: str, tagged: bool) -> None:
    """Whatever stops a release, what people and programs are told has its time, where no tag gives it the same one."""
    plan = cast(Plan, SimpleNamespace(version_tag="v1.0.0" if tagged else None, moment=MOMENT))

    def body(*_: Any) -> None:
        with going_on(plan):
            raise STOPPED[stopped]()

    monkeypatch.setattr(shell, "_document", body)
    document = shell._outcome(body, {}, None).document
    assert document is not None
    wanted = GOES_ON if tagged else GOES_ON.replace("command", "command with --at 20250914-132416")
    assert document["remedy"].endswith(wanted)


def test_a_remedy_of_another_kind() -> None:
    """What does not go on by the same command is said as it was."""
    assert shell._with_time("make room", KeyboardInterrupt()) == "make room"
    assert shell._with_time(None, KeyboardInterrupt()) is None
