"""`invoke hub`: a Hub for those in a file of users and tokens."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

_REPOSITORY = Path(__file__).parents[2]
USERS = """
[users.alice]
[[tokens]]
user = "alice"
role = "write"
token = "hf_alice"
"""


def _hub(*options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "invoke", "hub", "--port", "0", *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=_REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_users_of_a_file(tmp_path: Path) -> None:
    """It prints its address, and knows the users of the file and nobody else."""
    (tmp_path / "users.toml").write_text(USERS)
    with _hub(
        "--auth", str(tmp_path / "users.toml"), "--host", "127.0.0.2", "--root", str(tmp_path / "hub")
    ) as running:
        assert running.stdout is not None
        url = running.stdout.readline().split()[2]
        try:
            assert url.startswith("http://127.0.0.2:")
            assert HfApi(endpoint=url, token="hf_alice").whoami()["name"] == "alice"
            with pytest.raises(HfHubHTTPError, match="Invalid user token"):
                HfApi(endpoint=url, token="hf_mallory").whoami()
        finally:
            running.send_signal(signal.SIGINT)
        assert "users: 1, tokens: 1" in running.stdout.read()
    assert running.returncode == 0


@pytest.mark.slow
def test_mistakes(tmp_path: Path) -> None:
    """A malformed file, and a Hub without tokens beyond loopback, are mistakes of the options."""
    (tmp_path / "users.toml").write_text("[users.alice]\nnick = 1\n")
    for options, problem in (
        (("--auth", str(tmp_path / "users.toml")), "users.alice.nick is not known"),
        (("--host", "0.0.0.0", "--root", str(tmp_path / "hub")), "listens on loopback only"),
    ):
        with _hub(*options) as running:
            output, _ = running.communicate(timeout=60)
        assert running.returncode == 2
        assert problem in output
