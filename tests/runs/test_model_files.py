"""The files that go with a model's weights: the run's before the base's, and what is written otherwise in them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tagship.runs.base import BaseModel
from tagship.runs.base_folder import check_base_folder
from tagship.runs.model_files import ModelFiles, end_tokens, model_files

from tests.conftest import PHI3

WORDS = {"<s>": 0, "</s>": 1, "a": 2}


def write_files(folder: Path, **files: str | dict[str, Any]) -> Path:
    """Files by name, `__` stands for the dot; what is no text is written as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def tokenizer_with(**added: int) -> dict[str, Any]:
    """A tokenizer.json of the words above, and of tokens that were added."""
    tokens = [{"id": number, "content": f"<{name}>"} for name, number in added.items()]
    return {"model": {"type": "BPE", "vocab": WORDS}, "added_tokens": tokens}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A base model's folder with all that an export takes from it, but weights."""
    return write_files(tmp_path / "base", config__json={"vocab_size": 384}, tokenizer__json=tokenizer_with())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run without a tokenizer."""
    return write_files(tmp_path / "run", adapter_config__json={})


def files_of(base: Path, run: Path) -> ModelFiles:
    return model_files(check_base_folder(BaseModel(id=PHI3, license="mit"), base, revision=None), run)


def names_by_home(base: Path, run: Path) -> dict[str, str]:
    found = files_of(base, run).sources
    assert list(found) == sorted(found)
    return {name: path.relative_to(base.parent).parts[0] for name, path in found.items()}


# Whose they are


def test_files_of_the_base(tmp_path: Path, whole: Path) -> None:
    """Without a tokenizer of its own, a run takes everything from the base; weights and the card stay there."""
    write_files(whole, generation_config__json="{}", LICENSE="MIT", model__safetensors="", tokenizer_config__json="{}")
    write_files(whole / "additional_chat_templates", tool__jinja="x")
    run = write_files(tmp_path / "run", adapter_config__json="{}", README__md="# A run")
    assert names_by_home(whole, run) == dict.fromkeys(
        (
            "LICENSE",
            "additional_chat_templates/tool.jinja",
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ),
        "base",
    )


def test_tokenizer_of_the_run(tmp_path: Path, whole: Path) -> None:
    """A run that brings its tokenizer has all of it, and nothing of the base's; the configuration is the base's."""
    write_files(whole, tokenizer__model="", special_tokens_map__json="{}", tokenizer_config__json="{}")
    run = write_files(tmp_path / "run", tokenizer__json="{}", tokenizer_config__json="{}", config__json="{}")
    assert names_by_home(whole, run) == {
        "config.json": "base",
        "tokenizer.json": "run",
        "tokenizer_config.json": "run",
    }


def test_described_tokenizer_is_none(tmp_path: Path, whole: Path) -> None:
    """A run that only describes a tokenizer, without a vocabulary, has the base's, whole."""
    run = write_files(tmp_path / "run", tokenizer_config__json="{}")
    assert names_by_home(whole, run) == {"config.json": "base", "tokenizer.json": "base"}


def test_chat_template_of_the_base(tmp_path: Path, whole: Path) -> None:
    """A run whose tokenizer has no chat template has the base's."""
    write_files(whole, chat_template__jinja="base")
    run = write_files(tmp_path / "run", tokenizer__json="{}", tokenizer_config__json="{}")
    assert names_by_home(whole, run)["chat_template.jinja"] == "base"


def test_chat_template_file_of_the_run(tmp_path: Path, whole: Path) -> None:
    """A run's chat template goes before the base's."""
    write_files(whole, chat_template__jinja="base")
    run = write_files(tmp_path / "run", tokenizer__json="{}", chat_template__jinja="run")
    assert names_by_home(whole, run)["chat_template.jinja"] == "run"


def test_chat_template_inside_the_tokenizer_of_the_run(tmp_path: Path, whole: Path) -> None:
    """A run that keeps its chat template in tokenizer_config.json does not get the base's file, which would win."""
    write_files(whole, chat_template__jinja="base")
    told = json.dumps({"chat_template": "run"})
    run = write_files(tmp_path / "run", tokenizer__json="{}", tokenizer_config__json=told)
    assert "chat_template.jinja" not in names_by_home(whole, run)


def test_template_of_a_run_without_a_tokenizer(whole: Path, run: Path) -> None:
    """A run that saved how it was talked to, but no tokenizer, has its own chat templates on the base's tokenizer."""
    write_files(whole, chat_template__jinja="base")
    write_files(run, chat_template__jinja="run")
    write_files(run / "additional_chat_templates", tool__jinja="tools")
    homes = names_by_home(whole, run)
    assert homes["chat_template.jinja"] == homes["additional_chat_templates/tool.jinja"] == "run"
    assert homes["tokenizer.json"] == "base"


def test_template_inside_the_configuration_of_a_run_without_a_tokenizer(whole: Path, run: Path) -> None:
    """A run's template is the one that is published, also where the base has one in a file, which would win."""
    write_files(whole, chat_template__jinja="base", tokenizer_config__json={"eos_token": "</s>"})
    write_files(run, tokenizer_config__json={"chat_template": "run"})
    files = files_of(whole, run)
    assert "chat_template.jinja" not in files.names()
    assert files.document("tokenizer_config.json") == {"eos_token": "</s>", "chat_template": "run"}


def test_generation_config_of_the_run(whole: Path, run: Path) -> None:
    """How answers are made is the run's to say, with or without a tokenizer."""
    write_files(whole, generation_config__json={"temperature": 1})
    write_files(run, generation_config__json={"temperature": 0.5})
    assert files_of(whole, run).document("generation_config.json") == {"temperature": 0.5}


def test_processor_of_the_base(whole: Path, run: Path) -> None:
    """A model that sees does not start without the files of its processor."""
    names = {"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"}
    write_files(whole, **{name.replace(".", "__"): {} for name in names})
    assert names < set(files_of(whole, run).names())


def test_code_of_the_base_stays_there(whole: Path, run: Path) -> None:
    """Neither code nor its name is published."""
    mapped = {"AutoModelForCausalLM": "modeling_x.XForCausalLM"}
    write_files(whole, modeling_x__py="import os", config__json={"vocab_size": 3, "auto_map": mapped})
    write_files(whole, tokenizer_config__json={"auto_map": mapped}, preprocessor_config__json={"auto_map": mapped})
    files = files_of(whole, run)
    assert "modeling_x.py" not in files.names()
    assert files.document("config.json") == {"vocab_size": 3}
    assert files.document("tokenizer_config.json") == files.document("preprocessor_config.json") == {}


def test_sentencepiece_of_the_base(whole: Path, run: Path) -> None:
    """transformers 5 does not save a tokenizer.model again: the base's goes with a run of the same vocabulary, and with
    no other."""
    write_files(whole, tokenizer__model="pieces")
    write_files(run, tokenizer__json=tokenizer_with(added=3))
    assert names_by_home(whole, run)["tokenizer.model"] == "base"
    write_files(run, tokenizer__json={"model": {"vocab": {"b": 0}}})
    assert "tokenizer.model" not in names_by_home(whole, run)


# What is written otherwise


@pytest.mark.parametrize(
    ("theirs", "ends"), [({"eos_token_id": 1}, [3, 1]), ({"eos_token_id": [1, 0]}, [3, 1, 0]), ({}, [3])]
)
def test_end_of_an_answer_that_was_trained(whole: Path, run: Path, theirs: dict[str, Any], ends: list[int]) -> None:
    """The run's end of text ends an answer, as transformers' Trainer has it; the base's others still do."""
    write_files(whole, config__json={"vocab_size": 384} | theirs, generation_config__json=theirs)
    write_files(run, tokenizer__json=tokenizer_with(im_end=3), tokenizer_config__json={"eos_token": "<im_end>"})
    files = files_of(whole, run)
    assert end_tokens(files) == ends
    assert files.document("config.json").get("eos_token_id") == (3 if theirs else None)


def test_end_of_an_answer_of_a_model_of_several_parts(whole: Path, run: Path) -> None:
    """Where the configuration has it inside, it is written there."""
    write_files(whole, config__json={"text_config": {"eos_token_id": 1, "vocab_size": 9}})
    write_files(run, tokenizer__json=tokenizer_with(im_end=3))
    write_files(run, tokenizer_config__json={"eos_token": {"content": "<im_end>"}})
    assert files_of(whole, run).document("config.json") == {"text_config": {"eos_token_id": 3, "vocab_size": 9}}


@pytest.mark.parametrize("end", ["</s>", "<nobody>", None])
def test_end_of_an_answer_that_stays(whole: Path, run: Path, end: str | None) -> None:
    """One that ends answers already, or is no token, changes nothing."""
    write_files(whole, config__json={"eos_token_id": 1})
    write_files(run, tokenizer__json=tokenizer_with(), tokenizer_config__json={"eos_token": end})
    assert files_of(whole, run).documents == {}


@pytest.mark.parametrize("vocabulary", ["vocab.json", "added_tokens.json"])
def test_end_of_an_answer_in_a_tokenizer_of_several_files(whole: Path, run: Path, vocabulary: str) -> None:
    """The id is found wherever a tokenizer's files have it."""
    write_files(run, vocab__json={"a": 0}, tokenizer_config__json={"eos_token": "<end>"})
    write_files(run, **{vocabulary.replace(".", "__"): {"<end>": 7}})
    assert end_tokens(files_of(whole, run)) == [7]


@pytest.mark.parametrize(
    ("theirs", "same", "known"),
    [
        ("LlamaTokenizerFast", True, "LlamaTokenizerFast"),
        ("LlamaTokenizerFast", False, "PreTrainedTokenizerFast"),
        ("TokenizersBackend", True, "PreTrainedTokenizerFast"),
        (None, True, "PreTrainedTokenizerFast"),
    ],
)
def test_class_that_only_transformers_5_knows(
    whole: Path, run: Path, theirs: str | None, same: bool, known: str
) -> None:
    """It is the base's where the vocabulary is, else the one that all versions know for a tokenizer.json."""
    write_files(whole, tokenizer_config__json={"tokenizer_class": theirs} if theirs else {})
    write_files(run, tokenizer__json=tokenizer_with() if same else {"model": {"vocab": {"b": 0}}})
    write_files(run, tokenizer_config__json={"tokenizer_class": "TokenizersBackend", "padding_side": "left"})
    told = files_of(whole, run).document("tokenizer_config.json")
    assert told == {"tokenizer_class": known, "padding_side": "left"}


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        ("/home/anna/phi", False),
        (r"C:\models\phi", False),
        ("./phi", False),
        ("a/b/c", False),
        ("", True),
        ("acme/phi", True),
        ("gpt2", True),
    ],
)
def test_paths_of_a_machine(whole: Path, run: Path, path: str, stays: bool) -> None:
    """They are cut, also of the models inside; a model's id is none."""
    inner = {"_name_or_path": path, "layers": 2}
    write_files(whole, config__json=inner | {"text_config": inner})
    write_files(whole, tokenizer_config__json={"name_or_path": path, "tokenizer_file": "/root/.cache/tokenizer.json"})
    files = files_of(whole, run)
    kept = inner if stays else {"layers": 2}
    assert files.document("config.json") == kept | {"text_config": kept}
    assert files.document("tokenizer_config.json") == ({"name_or_path": path} if stays else {})


def test_files_as_they_are_written(whole: Path, run: Path, tmp_path: Path) -> None:
    """Files are copied byte for byte; only those that say something else are written anew."""
    write_files(whole, config__json='{ "_name_or_path": "/x/y", "n": 1 }', LICENSE="MIT", tokenizer_config__json="{  }")
    write_files(whole / "additional_chat_templates", tool__jinja="x")
    files = files_of(whole, run)
    files.write(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"n": 1}
    assert (tmp_path / "out" / "tokenizer_config.json").read_text() == "{  }"
    assert (tmp_path / "out" / "additional_chat_templates" / "tool.jinja").read_text() == "x"
    assert "LICENSE" not in files.of_the_tokenizer
    assert "additional_chat_templates/tool.jinja" in files.of_the_tokenizer
