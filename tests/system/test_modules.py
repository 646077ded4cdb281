"""Modules that are loaded while something else is done."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from threading import current_thread
from tagship.system.modules import import_meanwhile

import_meanwhile(["slow", "broken"])
import slow
print(slow.where != current_thread().name)
try:
    import broken
except ValueError as error:
    print(error)
"""


def test_loaded_in_a_thread(tmp_path: Path) -> None:
    """Who imports a module gets the one that is being loaded, and of one that cannot be loaded the error."""
    (tmp_path / "slow.py").write_text(
        "import threading, time\nwhere = threading.current_thread().name\ntime.sleep(0.5)\n"
    )
    (tmp_path / "broken.py").write_text("raise ValueError('it is broken')\n")
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True", "it is broken"]
    assert done.stderr == ""
