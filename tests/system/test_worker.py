"""Processes that work for this one: what gets there and back, and how they end."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from tagship.system.errors import Killed, ReleaseError, ToolError
from tagship.system.files import new_folder
from tagship.system.worker import Worker

from tests.conftest import InstallPackage

# What a worker is asked to do; it has to find that by its module's name.
FUNCTIONS = """
import atexit, ctypes, json, os, signal, subprocess, sys, time
from pathlib import Path
from tagship.system.errors import ReleaseError, ToolError, UsageError

def write(path, value):
    Path(path).write_text(json.dumps(value))

def environment(path):
    write(path, dict(os.environ))

def refuse(kind):
    raise {"release": ReleaseError, "tool": ToolError, "usage": UsageError}[kind]("no", remedy="do")

def count(advance=int):
    advance(3)
    print("a library prints what it likes")
    advance(4)

def crash():
    print("before")
    raise ZeroDivisionError("why it was")

def wrap():
    atexit.register(print, "taken apart")
    try:
        raise OSError("no such operator")
    except OSError as error:
        raise ImportError("it could not be imported") from error

def again():
    try:
        raise OSError("no such operator")
    except OSError as error:
        raise error from error

def end(number):
    os.kill(os.getpid(), number)

def ask():
    input("may I?")

def token(path):
    from huggingface_hub import get_token
    from huggingface_hub.utils import build_hf_headers
    write(path, [get_token(), build_hf_headers().get("authorization")])

def work_for_ever(path):
    write(path + ".partial", os.getpid())
    os.replace(path + ".partial", path)  # whoever reads it finds it whole
    while True:
        time.sleep(3600)

def hold_for_ever(path):
    write(path + ".partial", os.getpid())
    os.replace(path + ".partial", path)
    ctypes.PyDLL(None).sleep(3600)  # with the interpreter's lock

def start_others(path):
    forked = os.fork()
    if not forked:
        time.sleep(3600)
    write(path, [forked, subprocess.Popen(["sleep", "3600"]).pid])

def print_much():
    os.write(1, b"x" * 3_000_000)
    raise ZeroDivisionError("y" * 3_000_000)
"""

WAITING = """
import sys
import foreign
import signal
from tagship.system import worker as workers
from tagship.system.worker import Worker
workers._ENDS_WITHIN = 0.5
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it runs in the background ignore it
with Worker("waiting") as worker:
    worker.call("it ended", getattr(foreign, sys.argv[1]), sys.argv[2])
"""


@pytest.fixture
def foreign(install_package: InstallPackage) -> ModuleType:
    """The functions above, in a module that is installed."""
    install_package("foreign", FUNCTIONS, {})
    return importlib.import_module("foreign")


@pytest.fixture
def worker(foreign: ModuleType) -> Iterator[Worker]:
    with Worker("test") as own:
        yield own


def test_one_call_after_the_other(worker: Worker, foreign: ModuleType, tmp_path: Path) -> None:
    """A process does one piece of work after the other, also after one that it refused."""
    for value in (1, [2], "three"):
        worker.call("it ended", foreign.write, tmp_path / "value", value)
        assert json.loads((tmp_path / "value").read_text()) == value
        with pytest.raises(ReleaseError):
            worker.call("it ended", foreign.refuse, "release")


def test_progress(worker: Worker, foreign: ModuleType) -> None:
    """Progress gets here, whatever is printed there; without anybody to count it is no matter."""
    counted: list[int] = []
    worker.call("it ended", foreign.count, advance=counted.append)
    assert counted == [3, 4]


@pytest.mark.parametrize(("kind", "raised"), [("release", ReleaseError), ("tool", ToolError), ("usage", ReleaseError)])
def test_refusal(worker: Worker, foreign: ModuleType, kind: str, raised: type[ReleaseError]) -> None:
    """What is refused there is refused here, with the same message and remedy."""
    with pytest.raises(ReleaseError) as caught:
        worker.call("it ended", foreign.refuse, kind)
    assert type(caught.value) is raised
    assert (str(caught.value), caught.value.remedy) == ("no", "do")


def test_crash(worker: Worker, foreign: ModuleType) -> None:
    """Any other exception ends the process, and is told with what was printed meanwhile, not of other work before."""
    worker.call("it ended", foreign.count, advance=lambda _: None)
    with pytest.raises(ToolError, match=r"^it ended \(exit code 1\):\n") as caught:
        worker.call("it ended", foreign.crash)
    assert "  before\n" in str(caught.value) and "what it likes" not in str(caught.value)
    assert str(caught.value).endswith("ZeroDivisionError: why it was")


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGKILL, Killed), (signal.SIGTERM, Killed), (signal.SIGSEGV, ToolError)]
)
def test_signal(worker: Worker, foreign: ModuleType, number: int, raised: type[ToolError]) -> None:
    """A process that a signal ended is told as that; one that was killed, with what that mostly is."""
    with pytest.raises(ToolError, match=rf"^it ended \(killed by signal {number}\)$") as caught:
        worker.call("it ended", foreign.end, int(number))
    assert type(caught.value) is raised
    assert (caught.value.remedy is not None) == (raised is Killed)


def test_what_it_began_with_comes_last(worker: Worker, foreign: ModuleType) -> None:
    """Of an exception that another one led to both are told, and nothing that is printed as libraries end."""
    with pytest.raises(ToolError) as caught:
        worker.call("it ended", foreign.wrap)
    *_, wrapped, first = str(caught.value).splitlines()
    with Worker("one that is its own cause") as other, pytest.raises(ToolError, match=r"OSError: no such operator$"):
        other.call("it ended", foreign.again)
    assert (wrapped, first) == ("  ImportError: it could not be imported", "  OSError: no such operator")


def test_nobody_answers(worker: Worker, foreign: ModuleType) -> None:
    """A library that asks a question gets no answer, and none that was meant for the process itself."""
    with pytest.raises(ToolError, match="EOFError"):
        worker.call("it ended", foreign.ask)


def test_files_of_a_process_that_was_killed_are_kept(worker: Worker, foreign: ModuleType, tmp_path: Path) -> None:
    """An export whose process was killed, as by a full memory, is resumed as one that was itself killed."""
    with pytest.raises(Killed), new_folder(tmp_path / "export", resumes="digest") as folder:
        (folder / "whole").touch()
        worker.call("it ended", foreign.end, int(signal.SIGKILL))
    with new_folder(tmp_path / "export", resumes="digest") as folder:
        assert (folder / "whole").exists()


# Its environment


def test_environment_without_secrets(foreign: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker has what programs need, no secrets, and asks no network."""
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("LLAMA_CPP_DIR", "/src/llama.cpp")
    with Worker("test") as worker:
        worker.call("it ended", foreign.environment, tmp_path / "environment")
    told = json.loads((tmp_path / "environment").read_text())
    assert "WANDB_API_KEY" not in told
    assert told["LLAMA_CPP_DIR"] == "/src/llama.cpp"
    assert told["HF_HUB_OFFLINE"] == told["TRANSFORMERS_OFFLINE"] == "1"


def test_no_token_of_the_hub(foreign: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Hub's client finds no token there: neither a variable's, nor the one that `hf auth login` keeps."""
    (tmp_path / "token").write_text("hf_in_a_file")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_in_a_variable")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_in_another")
    with Worker("test") as worker:
        worker.call("it ended", foreign.token, tmp_path / "told")
    assert json.loads((tmp_path / "told").read_text()) == [None, None]


# Its end


def test_nothing_is_left(foreign: ModuleType) -> None:
    """With the block the process and its files end, also when an error leaves it."""
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ZeroDivisionError), Worker("test") as worker:
        worker.call("it ended", foreign.count)
        raise ZeroDivisionError
    assert not worker.folder.exists()
    assert {child.pid for child in psutil.Process().children()} <= before


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("ends", [True, False])
def test_what_a_library_has_started(foreign: ModuleType, tmp_path: Path, ends: bool) -> None:
    """It ends with the worker; and where a worker is killed, nobody waits for what it forked."""
    with Worker("test") as worker:
        worker.call("it ended", foreign.start_others, str(tmp_path / "pids"))
        started = json.loads((tmp_path / "pids").read_text())
        assert all(map(is_running, started))
        if not ends:
            with pytest.raises(Killed):
                worker.call("it ended", foreign.end, int(signal.SIGKILL))
    while any(map(is_running, started)):  # for ever, without what is tested
        time.sleep(0.01)


def test_much_is_printed(worker: Worker, foreign: ModuleType) -> None:
    """The end of it is read, and a part of each line told."""
    with pytest.raises(ToolError, match="yyy") as caught:
        worker.call("it ended", foreign.print_much)
    assert len(str(caught.value)) < 20_000


@pytest.mark.parametrize(
    ("number", "work"),
    [(signal.SIGKILL, "work_for_ever"), (signal.SIGINT, "work_for_ever"), (signal.SIGINT, "hold_for_ever")],
)
def test_end_of_the_one_that_it_works_for(foreign: ModuleType, tmp_path: Path, number: int, work: str) -> None:
    """When the process that it works for is killed, or interrupted by Ctrl-C, a worker ends, too, in the midst of its
    work; after Ctrl-C also one whose interpreter hears nothing."""
    said = tmp_path / "pid"
    (tmp_path / "temporary").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, work, str(said)],
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
    ) as parent:
        while not said.is_file():
            assert parent.poll() is None
            time.sleep(0.01)
        own = psutil.Process(json.loads(said.read_text()))
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does
        else:
            parent.send_signal(number)
        parent.communicate()
    while own.is_running() and own.status() != psutil.STATUS_ZOMBIE:  # for ever, without what is tested
        time.sleep(0.01)
    assert parent.returncode == -number
    assert list((tmp_path / "temporary").iterdir()) == []
