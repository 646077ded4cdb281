"""The base model of a run: which one it is, and whether its folder is whole."""

from pathlib import Path

import pytest
from tagship.runs.base import BaseModel, resolve_base
from tagship.runs.base_folder import check_base_folder, vocabulary_rows
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
    return check_base_folder(BaseModel(id=PHI3, license=license_id), path, revision=None).license


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


def test_name_of_no_base(tmp_path: Path) -> None:
    """What is neither a folder nor an id is refused, however long."""
    for reference in ("a/b/c", "a" * 5000, ""):
        with pytest.raises(ReleaseError, match="neither a folder here nor a model's id"):
            resolve_base(reference, None, {}, tmp_path)


@pytest.mark.parametrize(("recorded", "kept"), [("unsloth", None), ("main", None), ("a" * 40, "a" * 40), (None, None)])
def test_revision_of_a_folder(tmp_path: Path, whole: Path, recorded: str | None, kept: str | None) -> None:
    """What a run recorded of a base that is in a folder holds where it is a commit: a folder has no other."""
    known = BaseModel(id="acme/base", path=whole)
    assert resolve_base("acme/base", recorded, {"acme/base": known}, tmp_path).revision == kept


def test_quantized_form(tmp_path: Path) -> None:
    """A run that was trained on a quantized form is one of the model that the policy says; its revision is not that."""
    whole = BaseModel(id="acme/base", license="mit", quantized=("other/base-bnb-4bit", "other/base-awq"))
    bases = {"acme/first": BaseModel(id="acme/first"), "acme/base": whole}
    assert resolve_base("other/base-awq", "abc", bases, tmp_path) == whole


@pytest.mark.parametrize("cache", ["/home/anna/.cache/huggingface/hub/", "C:\\hub\\", ""])
def test_path_in_a_cache_of_the_hub(tmp_path: Path, cache: str) -> None:
    """It names the model and the commit, on whichever machine it was."""
    path = f"{cache}models--acme--base-2/snapshots/{'a' * 40}"
    path = path.replace("/", "\\") if "\\" in cache else path
    assert resolve_base(path, "unsloth", {}, tmp_path) == BaseModel(id="acme/base-2", revision="a" * 40)
    pinned = BaseModel(id="acme/base-2", revision="pinned")
    assert resolve_base(path, None, {pinned.id: pinned}, tmp_path) == pinned


def test_cache_of_the_hub_on_this_machine(tmp_path: Path) -> None:
    """Where the folder is here, it is the model, without a line in the policy."""
    here = write_files(tmp_path / f"models--acme--base/snapshots/{'a' * 40}", config__json="{}")
    assert resolve_base(str(here), None, {}, tmp_path) == BaseModel(id="acme/base", revision="a" * 40, path=here)


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
    assert caught.value.remedy == 'add to release.toml: [bases."organisation/name"] path = "base"'
    mistyped = BaseModel(id="acme/base", path=tmp_path / "models/base")
    with pytest.raises(ReleaseError, match=r"path is .*/models/base, which is not there") as caught:
        resolve_base("base", None, {"acme/base": mistyped}, tmp_path)
    assert caught.value.remedy == 'say in release.toml: [bases."acme/base"] path = "base"'


@pytest.mark.parametrize("reference", ["", "/data/models/phi", "a/b/c", "../base", "./base", "my model", "acme/.."])
def test_neither_folder_nor_id(tmp_path: Path, reference: str) -> None:
    """What is neither a folder here nor could be an id on the Hub is refused, and --base is named."""
    with pytest.raises(ReleaseError, match="is neither a folder here nor a model's id on the Hub") as caught:
        resolve_base(reference, None, {}, tmp_path)
    assert "--base" in str(caught.value.remedy)


# Its folder


def test_whole_base(whole: Path) -> None:
    """A whole base has the license of its own card, and keeps the revision that it was fetched at."""
    base = check_base_folder(BaseModel(id=PHI3), whole, revision="abc")
    assert (base.id, base.path, base.revision, base.license) == (PHI3, whole, "abc", "mit")
    assert (base.license_name, base.license_link) == (None, None)


def test_license_of_the_policy(whole: Path) -> None:
    """A license that the policy names goes before the card's."""
    assert check(whole, "apache-2.0") == "apache-2.0"


def test_other_license(whole: Path) -> None:
    """A license that the Hub has no word for comes with its name and its link."""
    write_files(whole, README__md="---\nlicense: other\nlicense_name: qwen\nlicense_link: LICENSE\n---\n")
    base = check_base_folder(BaseModel(id=PHI3), whole, revision=None)
    assert (base.license, base.license_name, base.license_link) == ("other", "qwen", "LICENSE")
    named = BaseModel(id=PHI3, license_name="mine", license_link="https://example.com")
    base = check_base_folder(named, whole, revision=None)
    assert (base.license, base.license_name, base.license_link) == ("other", "mine", "https://example.com")
    base = check_base_folder(BaseModel(id=PHI3, license="mit"), whole, revision=None)
    assert (base.license, base.license_name, base.license_link) == ("mit", None, None)


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
