"""A base model that needs Python of its own: released only where release.toml trusts it, without the Hub's token."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.end_to_end.conftest import AT, Project
from tests.preloaded import WORKERS

# llama.cpp knows by the name that special tokens swallow white space, as in the tokenizer of the tests.
BASE = "acme/phi-3-own"
RUN = "own-minimal-r4-a8-e1-20250920-120000"
# Whoever imports it is told, with what it could see.
NOTED = """\
import json, os
NOTED = os.environ["NOTED"]
with open(NOTED, "a") as file:
    print(json.dumps(dict(os.environ)), file=file)
"""
CONFIGURATION = """
from transformers import LlamaConfig
from .noted_own import NOTED

class OwnConfig(LlamaConfig):
    model_type = "own"
"""
MODELING = """
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""
AUTO_MAP = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
CODE = {"noted_own.py", "configuration_own.py", "modeling_own.py"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A renamed Llama, and a run of it."""
    folder = tmp_path_factory.mktemp("own")
    base = tiny.tokenizer(tiny.llama(folder / "base"))
    tiny.adapter(base, folder / RUN)
    tiny.edit_json(folder / RUN / "adapter_config.json", base_model_name_or_path=BASE)
    tiny.edit_json(base / "config.json", model_type="own", auto_map=AUTO_MAP)
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    files = {"noted_own": NOTED, "configuration_own": CONFIGURATION, "modeling_own": MODELING, "unused": "1 / 0"}
    for name, text in files.items():
        (base / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def project(project: Project, own: Path) -> Project:
    """The project, which has that base and that run."""
    shutil.copytree(own / "base", project.folder / "own")
    shutil.copytree(own / RUN, project.folder / "examples/avro/adapters" / RUN)
    project.replace("release.toml", "max_tokens = 128", "max_tokens = 8")
    project.replace("release.toml", "[formats.vllm]", '[bases."acme/phi-3-own"]\npath = "own"\n\n[formats.vllm]')
    return project


def trust(project: Project) -> None:
    project.replace("release.toml", 'path = "own"', 'path = "own"\ntrust_remote_code = true')


def run(project: Project, *arguments: str) -> Any:
    noted = str(project.folder / "noted")
    environment = {
        "HF_TOKEN": "hf_secretsecret",
        "NOTED": noted,
        WORKERS: "",
    }  # where code is, is said when modules are loaded
    return project.invoke(*arguments, "--run", RUN, "--at", AT, **environment)


def noted(project: Project) -> list[dict[str, str]]:
    """What the base's code saw, each time that it ran."""
    path = project.folder / "noted"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def exported(project: Project, kind: str) -> Path:
    (found,) = (project.folder / "exports").glob(f"{RUN}-{kind}-*")
    return found


@pytest.mark.parametrize("verb", ["release", "export"])
def test_not_trusted(project: Project, verb: str) -> None:
    """It is refused before anything is exported, in one line that names what would run, and the key; nothing ran."""
    done = run(project, verb, "--format", "vllm")
    assert done.code == 1
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert "acme/phi-3-own wants to run code of its own" in error
    assert "configuration_own.OwnConfig, modeling_own.OwnForCausalLM" in error
    assert '[bases."acme/phi-3-own"] trust_remote_code = true' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.folder / "exports").exists()
    assert noted(project) == []


def test_trusted(project: Project) -> None:
    """With the key it is released: the code that the model needs runs in processes without the token, and is published
    with the merged weights under the names that the base gives it."""
    trust(project)
    tiny.edit_json(project.folder / "own/config.json", architectures=["OwnForCausalLM"])
    done = run(project, "release", "--format", "vllm", "--format", "lora", "--json")
    assert done.code == 0, done.stderr
    vllm, lora = ({file["path"] for file in entry["files"]} for entry in done.document["formats"])
    assert {name for name in vllm if name.endswith(".py")} == CODE
    assert not {name for name in lora if name.endswith(".py")}
    assert json.loads((exported(project, "vllm") / "config.json").read_text())["auto_map"] == AUTO_MAP
    assert "--trust-remote-code" in (exported(project, "vllm") / "README.md").read_text()
    assert noted(project)
    assert not [seen for seen in noted(project) if "hf_secretsecret" in seen.values() or "HF_TOKEN" in seen]


def test_architecture_that_only_the_base_knows(project: Project) -> None:
    """llama.cpp knows no class of somebody's own."""
    trust(project)
    tiny.edit_json(project.folder / "own/config.json", architectures=["OwnForCausalLM"])
    done = run(project, "release", "--format", "ollama")
    assert done.code == 1
    assert "converter does not have OwnForCausalLM" in done.stderr
    assert not (project.folder / "exports").exists()


def test_gguf_of_a_class_that_llama_cpp_knows(project: Project) -> None:
    """A model that is a Llama but by its name becomes a GGUF; the code, which the converter asks for, sees no token."""
    trust(project)
    tiny.edit_json(project.folder / "own/config.json", architectures=["LlamaForCausalLM"])
    done = run(project, "release", "--format", "ollama", "--quant", "f32", "--json")
    assert done.code == 0, done.stderr
    (ollama,) = done.document["formats"]
    assert not [file for file in ollama["files"] if file["path"].endswith(".py")]
    assert noted(project)
    assert not [seen for seen in noted(project) if "HF_TOKEN" in seen]


def test_code_that_is_not_needed(project: Project) -> None:
    """A model that transformers knows is released as ever: the code beside it neither runs nor is published."""
    tiny.edit_json(project.folder / "own/config.json", model_type="llama", architectures=["LlamaForCausalLM"])
    done = run(project, "release", "--format", "vllm", "--format", "ollama", "--quant", "f32", "--json")
    assert done.code == 0, done.stderr
    files = {file["path"] for entry in done.document["formats"] for file in entry["files"]}
    assert not {name for name in files if name.endswith(".py")}
    assert "auto_map" not in (exported(project, "vllm") / "config.json").read_text()
    assert noted(project) == []


def test_code_that_is_not_there(project: Project) -> None:
    """A module that is missing is told by its name, before anything is exported."""
    trust(project)
    (project.folder / "own/noted_own.py").unlink()
    done = run(project, "release", "--format", "vllm")
    assert done.code == 1
    assert "names code in noted_own.py, which is not there" in done.stderr
    assert not (project.folder / "exports").exists()


def test_code_that_does_not_run(project: Project) -> None:
    """What the code raises ends the release before anything is exported."""
    trust(project)
    (project.folder / "own/noted_own.py").write_text("NOTED = None\nimport no_such_package_at_all")
    done = run(project, "release", "--format", "vllm")
    assert done.code == 1
    assert "no_such_package_at_all" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.folder / "exports").exists()
