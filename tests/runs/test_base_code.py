"""Code of a base model's own: when it is needed, and which files it is in. Nothing here runs any of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tagship.runs.base_code import code_files, code_needed
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import ModelFiles, model_files
from tagship.system.errors import ReleaseError

pytest.importorskip("transformers")

MODEL = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
CLASSES = tuple(MODEL.values())
TOKENIZER = {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}


def write(folder: Path, **documents: Any) -> Path:
    """Files by name, `__` stands for the dot; what is no text is written as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def needed(folder: Path, config: Any, *names: str, **tokenizer: Any) -> tuple[str, ...]:
    return code_needed(write(folder, config__json=config, tokenizer_config__json=tokenizer), names)


# Whether it is needed


@pytest.mark.parametrize(
    ("config", "classes"),
    [
        ({"model_type": "own"}, ()),
        ({"model_type": "own", "auto_map": MODEL}, CLASSES),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "auto_map": MODEL}, ()),
        ({"model_type": "llama", "auto_map": MODEL}, ()),
        ({"model_type": "llama", "architectures": ["OwnForCausalLM"], "auto_map": MODEL}, CLASSES),
        ({"model_type": "own", "architectures": ["LlamaForCausalLM"], "auto_map": MODEL}, CLASSES),
        ({"auto_map": MODEL}, CLASSES),
        ({"model_type": "own", "auto_map": "nonsense"}, ()),
    ],
)
def test_model(tmp_path: Path, config: Any, classes: tuple[str, ...]) -> None:
    """Code is needed where it is named, and transformers has no such configuration or class."""
    assert needed(tmp_path, config) == classes


@pytest.mark.parametrize(
    ("names", "tokenizer", "classes"),
    [
        ((), {"auto_map": TOKENIZER, "tokenizer_class": "OwnTokenizer"}, ("tokenization_own.OwnTokenizer",)),
        ((), {"auto_map": TOKENIZER["AutoTokenizer"]}, ("tokenization_own.OwnTokenizer",)),
        ((), {"auto_map": TOKENIZER, "tokenizer_class": "LlamaTokenizer"}, ()),
        (("tokenizer.json",), {"auto_map": TOKENIZER, "tokenizer_class": "OwnTokenizer"}, ()),
        ((), {"tokenizer_class": "OwnTokenizer"}, ()),
    ],
)
def test_tokenizer(tmp_path: Path, names: tuple[str, ...], tokenizer: Any, classes: tuple[str, ...]) -> None:
    """A tokenizer.json is read by any version of transformers, whatever code is named beside it."""
    assert needed(tmp_path, {"model_type": "llama"}, *names, **tokenizer) == classes


# Its files


def test_files_that_are_imported(tmp_path: Path) -> None:
    """A class comes with what its file imports from beside itself, and what that does; not with the rest."""
    write(tmp_path / "part", attention__py="from .rotary import turn", rotary__py="", unused__py="")
    write(tmp_path, modeling_own__py="import torch\nfrom .configuration_own import A\nfrom .part.attention import b")
    write(tmp_path, configuration_own__py="if True:\n    from . import names\n", names__py="", unused__py="")
    assert list(code_files(tmp_path, ["modeling_own.OwnForCausalLM", "other/repo--modeling_x.X"])) == [
        "configuration_own.py",
        "modeling_own.py",
        "names.py",
        "part/attention.py",
        "part/rotary.py",
    ]


@pytest.mark.parametrize("name", ["modeling_none.X", "/etc/passwd.X", "...secret.X", ""])
def test_files_that_are_not_there(tmp_path: Path, name: str) -> None:
    """A class whose file is not in the base's folder is refused."""
    (tmp_path / "secret.py").touch()
    (tmp_path / "base/own").mkdir(parents=True)
    for outside in (name, f"{tmp_path}/secret.X"):
        with pytest.raises(ReleaseError, match="which is not there"):
            code_files(tmp_path / "base", [outside])


def test_file_that_is_no_code(tmp_path: Path) -> None:
    """A file of that name that is something else is not published."""
    write(tmp_path, modeling_own__py="\x7fELF")
    with pytest.raises(ReleaseError, match="is no Python"):
        code_files(tmp_path, ["modeling_own.X"])


# What is published


def files_of(folder: Path, *, trusted: bool, run: Any = None, config: Any = None) -> ModelFiles:
    base = write(folder / "base", tokenizer__json={"model": {"vocab": {"a": 0}}}, modeling_own__py="")
    write(base, configuration_own__py="", tokenization_own__py="", unused__py="")
    write(base, config__json={"model_type": "own", "auto_map": config or MODEL})
    write(base, tokenizer_config__json={"auto_map": TOKENIZER})
    own = write(folder / "run", **({"tokenizer_config__json": run, "tokenizer__json": {}} if run else {}))
    return model_files(
        BaseFolder(id="org/own", path=base, revision=None, license="mit", trust_remote_code=trusted), own
    )


def test_trusted(tmp_path: Path) -> None:
    """The code that configurations name goes with them; with the tokenizer alone only what reads it."""
    files = files_of(tmp_path, trusted=True)
    assert {"configuration_own.py", "modeling_own.py", "tokenization_own.py"} < set(files.names())
    assert "unused.py" not in files.names()
    assert files.document("config.json")["auto_map"] == MODEL
    assert [name for name in files.of_the_tokenizer if name.endswith(".py")] == ["tokenization_own.py"]


def test_not_trusted(tmp_path: Path) -> None:
    """Otherwise neither goes out."""
    files = files_of(tmp_path, trusted=False)
    assert not [name for name in files.names() if name.endswith(".py")]
    assert "auto_map" not in files.document("config.json") | files.document("tokenizer_config.json")


@pytest.mark.parametrize("repo", ["org/own", "other/own-bnb-4bit"])
def test_names_that_a_run_recorded(tmp_path: Path, repo: str) -> None:
    """transformers writes before a class which repository it came from: the base's own is published under its name."""
    recorded = {"auto_map": {"AutoTokenizer": [f"{repo}--tokenization_own.OwnTokenizer", None]}}
    files = files_of(tmp_path, trusted=True, run=recorded)
    assert files.document("tokenizer_config.json")["auto_map"] == TOKENIZER
    assert files.tokenizer_code == {"tokenization_own.py"}


def test_code_of_another_repository(tmp_path: Path) -> None:
    """What a base has elsewhere stays there, under the name that the base gives it; its own name before its own code is
    left out."""
    config = {"AutoConfig": "org/own--configuration_own.OwnConfig", "AutoModel": "other/code--modeling_own.Own"}
    files = files_of(tmp_path, trusted=True, config=config)
    assert files.document("config.json")["auto_map"] == config | {"AutoConfig": "configuration_own.OwnConfig"}
    assert "modeling_own.py" not in files.names()
