"""What of an environment is a secret."""

import random
import string
from pathlib import Path

import pytest
from tagship.system.errors import ReleaseError
from tagship.system.secrets import check_no_secrets, secrets_in, without_secrets


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


def some(number: int, letters: str = string.ascii_letters + string.digits) -> str:
    """Letters of no meaning: nothing that looks like a token is in this repository."""
    return "".join(random.Random(number).choices(letters, k=number))


TOKENS = {
    "a token of Hugging Face": "hf_" + some(34),
    "a key of OpenAI": "sk-proj-" + some(40) + "T3Blb" + "kFJ" + some(41),
    "a key of Anthropic": "sk-ant-api03-" + some(93),
    "a token of GitHub": "ghp_" + some(36),
    "a fine-grained token of GitHub": f"github_pat_{some(22)}_{some(59)}",
    "a token of GitLab": "glpat-" + some(20),
    "a key of AWS": "AKIA" + some(16, string.ascii_uppercase + "234567"),
    "a key of Google": "AIza" + some(35),
    "a token of npm": "npm_" + some(36),
    "a token of PyPI": "pypi-AgEIcHlwaS5vcmc" + some(80),
    "a token of Slack": "xoxb-1234567890-1234567890-" + some(24),
    "a webhook": "https://hooks.slack" + ".com/services/T" + some(40),
    "a web token": f"eyJ{some(30)}.eyJ{some(40)}.{some(43)}",
    "a private key": "-----BEGIN OPENSSH PRIVATE" + " KEY-----\n" + some(70),
    "a password in an address": "postgres://ada:" + some(12) + "@db.internal:5432/x",
}


@pytest.mark.parametrize("what", TOKENS)
def test_secrets_in_texts(tmp_path: Path, what: str) -> None:
    """A token is told by file, line and kind, and not repeated; text and quotes around it do not hide it."""
    for before, after in (("", ""), ('{"key": "', '"}'), ("TOKEN=", "\n"), ("see ", ".")):
        (tmp_path / "README.md").write_text(f"# It\n\n{before}{TOKENS[what]}{after}\n")
        assert list(secrets_in(tmp_path / "README.md")) == [(3, what)]
    with pytest.raises(ReleaseError, match=rf"card, line 3: {what}") as caught:
        check_no_secrets({"card": tmp_path / "README.md"})
    assert TOKENS[what] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "export HF_TOKEN=hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "hf_mistral_7b_instruct_finetuned_for_avro_schemas",
        '"sk-learn": 17, "task-force": 18, "ghp_": 19, "eyJ": 20',
        "AKIAIOSFODNN7EXAMPLE",
        "git clone https://github.com/acme/model.git",
        "postgres://user:password@localhost/db for example",
        "git@github.com:acme/model.git",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A",
        "-----BEGIN PRIVATE KEY----- begins such a file",
    ],
)
def test_no_secrets(tmp_path: Path, text: str) -> None:
    """Digests, names, pieces of a vocabulary and what documents write in place of a token are none."""
    (tmp_path / "README.md").write_text(text)
    assert list(secrets_in(tmp_path / "README.md")) == []


def test_bytes_are_no_text(tmp_path: Path) -> None:
    """Weights have no lines, and are not searched."""
    (tmp_path / "model.gguf").write_bytes(b"GGUF\0" + TOKENS["a token of GitHub"].encode())
    check_no_secrets({"model.gguf": tmp_path / "model.gguf"})
