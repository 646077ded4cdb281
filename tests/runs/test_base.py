"""The base model of a run: which one it is, and whether its folder is whole."""

import json
from pathlib import Path

import pytest
from tagship.runs.base import BaseModel, resolve_base
from tagship.runs.base_folder import check_base_folder, model_files, vocabulary_rows
from tagship.system.errors import ReleaseError

from tests.conftest import PHI3

CARD = "---\nlicense: mit\n---\n# A model\n"


def write_files(folder: Path, **files: str) -> Path:
    """Files by name; `__` stands for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A base model's folder with all that an export takes from it, but weights."""
    return write_files(tmp_path / "base", config__json='{"vocab_size": 384}', tokenizer__json="{}", README__md=CARD)


def check(path: Path, license_id: str | None = None) -> str:
    return check_base_folder(PHI3, path, revision=None, license_id=license_id).license


# Which model


def test_hub_id(tmp_path: Path) -> None:
    """A Hub id that the policy does not know is a model on the Hub, at the run's revision."""
    assert resolve_base(PHI3, "abc", {}, tmp_path) == BaseModel(id=PHI3, revision="abc")
    assert resolve_base("gpt2", None, {}, tmp_path) == BaseModel(id="gpt2")


def test_hub_id_of_the_policy(tmp_path: Path) -> None:
    """A Hub id that the policy knows is as the policy says; the run's revision holds where the policy has none."""
    pinned = BaseModel(id=PHI3, revision="pinned", license="mit", publish=True)
    free = BaseModel(id="gpt2", license="mit")
    bases = {base.id: base for base in (pinned, free)}
    assert resolve_base(PHI3, "abc", bases, tmp_path) == pinned
    assert resolve_base("gpt2", "abc", bases, tmp_path) == BaseModel(id="gpt2", revision="abc", license="mit")


@pytest.mark.parametrize("absolute", [True, False])
def test_known_folder(tmp_path: Path, whole: Path, absolute: bool) -> None:
    """A folder is the model whose [bases] entry has it, whether the adapter recorded it from the root or from /."""
    known = BaseModel(id="acme/base", path=whole)
    bases = {"acme/other": BaseModel(id="acme/other", path=tmp_path / "other"), "acme/base": known}
    assert resolve_base(str(whole) if absolute else "base", None, bases, tmp_path) == known


def test_folder_through_a_link(tmp_path: Path, whole: Path) -> None:
    """A link to a known folder is that folder."""
    (tmp_path / "link").symlink_to(whole)
    known = BaseModel(id="acme/base", path=whole)
    assert resolve_base("link", None, {"acme/base": known}, tmp_path) == known


def test_unknown_folder(tmp_path: Path, whole: Path) -> None:
    """A folder that no [bases] entry has is refused with the entry to add: its Hub id is in every name and card."""
    with pytest.raises(ReleaseError, match="nothing says which model on the Hub it is") as caught:
        resolve_base("base", None, {}, tmp_path)
    assert 'path = "base"' in str(caught.value.remedy)


@pytest.mark.parametrize("reference", ["", "/data/models/phi", "a/b/c", "../base", "./base", "my model", "acme/.."])
def test_neither_folder_nor_id(tmp_path: Path, reference: str) -> None:
    """What is neither a folder here nor could be an id on the Hub is refused, and --base is named."""
    with pytest.raises(ReleaseError, match="is neither a folder here nor a model's id on the Hub") as caught:
        resolve_base(reference, None, {}, tmp_path)
    assert "--base" in str(caught.value.remedy)


# Its folder


def test_whole_base(whole: Path) -> None:
    """A whole base has the license of its own card, and keeps the revision that it was fetched at."""
    base = check_base_folder(PHI3, whole, revision="abc", license_id=None)
    assert (base.id, base.path, base.revision, base.license) == (PHI3, whole, "abc", "mit")
    assert (base.license_name, base.license_link) == (None, None)


def test_license_of_the_policy(whole: Path) -> None:
    """A license that the policy names goes before the card's."""
    assert check(whole, "apache-2.0") == "apache-2.0"


def test_other_license(whole: Path) -> None:
    """A license that the Hub has no word for comes with its name and its link."""
    write_files(whole, README__md="---\nlicense: other\nlicense_name: qwen\nlicense_link: LICENSE\n---\n")
    base = check_base_folder(PHI3, whole, revision=None, license_id=None)
    assert (base.license, base.license_name, base.license_link) == ("other", "qwen", "LICENSE")


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that does not exist is told with the model that should be in it."""
    with pytest.raises(ReleaseError, match=f"{PHI3} should be in .*missing, which does not exist"):
        check(tmp_path / "missing")


def test_missing_config(whole: Path) -> None:
    """A base without config.json is refused by that name."""
    (whole / "config.json").unlink()
    with pytest.raises(ReleaseError, match=r"has no config\.json"):
        check(whole)


def test_missing_tokenizer(whole: Path) -> None:
    """A base without a vocabulary is refused, be its tokenizer described or not."""
    (whole / "tokenizer.json").unlink()
    write_files(whole, tokenizer_config__json="{}", special_tokens_map__json="{}")
    with pytest.raises(ReleaseError, match=r"has no tokenizer \(tokenizer\.json"):
        check(whole)


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "qwen.tiktoken"])
def test_tokenizers(whole: Path, name: str) -> None:
    """Each kind of vocabulary makes a tokenizer."""
    (whole / "tokenizer.json").rename(whole / name)
    assert check(whole) == "mit"


@pytest.mark.parametrize("card", [None, "# No front matter\n", "---\ntags: [x]\n---\n", "---\nlicense: [mit]\n---\n"])
def test_missing_license(whole: Path, card: str | None) -> None:
    """A base whose card tells no license is refused with the line for release.toml."""
    (whole / "README.md").unlink()
    if card is not None:
        write_files(whole, README__md=card)
    with pytest.raises(ReleaseError, match=r"the license of the base model .* is not known") as caught:
        check(whole)
    assert f'[bases."{PHI3}"] license = ' in str(caught.value.remedy)


@pytest.mark.parametrize("card", ["---\nlicense: [mit\n---\n", "---\n- mit\n---\n"])
def test_broken_card(whole: Path, card: str) -> None:
    """A card whose front matter is none is refused by its name, unless the policy names the license."""
    write_files(whole, README__md=card)
    with pytest.raises(ReleaseError, match=r"README\.md"):
        check(whole)
    assert check(whole, "mit") == "mit"


# The files that go with the weights


def names_by_home(base: Path, run: Path) -> dict[str, str]:
    found = model_files(check_base_folder(PHI3, base, revision=None, license_id="mit"), run)
    assert list(found) == sorted(found)
    return {name: path.relative_to(base.parent).parts[0] for name, path in found.items()}


def test_files_of_the_base(tmp_path: Path, whole: Path) -> None:
    """Without a tokenizer of its own, a run takes everything from the base; weights and the card stay there."""
    write_files(whole, generation_config__json="{}", LICENSE="MIT", model__safetensors="", tokenizer_config__json="{}")
    write_files(whole / "additional_chat_templates", tool__jinja="x")
    run = write_files(tmp_path / "run", adapter_config__json="{}", README__md=CARD)
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


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        ('{"vocab_size": 384}', 384),
        ('{"text_config": {"vocab_size": 5}}', 5),
        ("{}", None),
        ('{"text_config": 3}', None),
        ('{"vocab_size": "x"}', None),
    ],
)
def test_vocabulary_rows(tmp_path: Path, config: str, rows: int | None) -> None:
    """The rows of the embedding are in config.json, also where it describes a model of several parts."""
    assert vocabulary_rows(write_files(tmp_path / "base", config__json=config)) == rows


@pytest.mark.parametrize("config", ["{", "[]"])
def test_broken_config(tmp_path: Path, config: str) -> None:
    """A config.json that is no model's configuration is refused by its name."""
    with pytest.raises(ReleaseError, match=r"config\.json"):
        vocabulary_rows(write_files(tmp_path / "base", config__json=config))
