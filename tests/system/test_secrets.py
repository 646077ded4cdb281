"""What of an environment is a secret."""

import pytest
from tagship.system.secrets import without_secrets


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH",
        "GITHUB_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "AWS_PROFILE",
        "AWS_SECRET_ACCESS_KEY",
        "WANDB_API_KEY",
        "SIGNING_KEY",
        "OPENAI_APIKEY",
        "PGPASSWORD",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SSH_AUTH_SOCK",
        "npm_token",
        "MYSQL_PWD",
        "SLACK_WEBHOOK",
    ],
)
def test_names_of_secrets(name: str) -> None:
    """A variable that is called a token, key or password is left out, and so are those of cloud services."""
    assert without_secrets({name: "x", "PATH": "/bin"}) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "value",
    [
        "hf_abcdefghijklmnop",
        "ghp_0123456789abcdef",
        "gho_0123456789abcdef",
        "pypi-AgEIcHlwaS5v",
        "eyJhbGciOiJIUzI1.eyJzdWIi.c2ln",
        "postgres://u:p@host/db",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_values_of_secrets(value: str) -> None:
    """A token or a password in a URL is found under any name."""
    assert without_secrets({"SOMETHING": value}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("PATH", "/usr/bin:/bin"),
        ("PWD", "/home/ada"),
        ("OLDPWD", "/home"),
        ("KEYBOARD", "de"),
        ("LLAMA_CPP_DIR", "/src/llama.cpp"),
        ("http_proxy", "http://proxy:3128"),
        ("OMP_NUM_THREADS", "4"),
        ("COVERAGE_PROCESS_CONFIG", "eyJjb25maWdfZmlsZXNf"),
        ("PYTHONPATH", "/src"),
    ],
)
def test_what_is_none(name: str, value: str) -> None:
    """What programs need is left in."""
    assert without_secrets({name: value}) == {name: value}
