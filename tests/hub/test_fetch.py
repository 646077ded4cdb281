"""A base model from the Hub: which of its files are fetched, and that they are the Hub's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from msgspec.structs import replace
from tagship.hub.connection import Hub
from tagship.hub.fetch import code_of_base, fetch_base, locate_base
from tagship.hub_server.app import EmbeddedHub
from tagship.runs.base import BaseModel
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.progress import Advance

BASE = BaseModel(id="acme/base", license="mit")
INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
SHARDS = set(INDEX["weight_map"].values())
DESCRIBING = {"config.json", "tokenizer.json", "LICENSE", "additional_chat_templates/tool.jinja"}
# The same weights in the form of those who trained them, and what else lies in repositories.
NOT_NEEDED = {"consolidated.safetensors", "original/consolidated.00.pth", "original/tokenizer.model", "modeling_x.py"}
NOT_NEEDED |= {"onnx/model.onnx", "pytorch_model.bin", "original/model.safetensors", "assets/LICENSE.svg"}

pytestmark = pytest.mark.usefixtures("quiet_client")


@pytest.fixture
def api(hub: EmbeddedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """A client of an embedded Hub that has the repository, and a cache of its own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    client = HfApi(endpoint=hub.url, token=False)
    client.create_repo(BASE.id)
    return client


@pytest.fixture
def client(api: HfApi) -> Iterator[Hub]:
    return Hub(lambda: api, embedded=False)


def put(api: HfApi, *names: str) -> None:
    """Put files of some names there; weights go the way of large files."""
    texts = {name: json.dumps(INDEX) if name.endswith(".index.json") else "{}" for name in names}
    operations = [CommitOperationAdd(name, (text + " " * len(name)).encode()) for name, text in texts.items()]
    api.create_commit(BASE.id, operations, commit_message="files")


def fetched(client: Hub) -> set[str]:
    folder = fetch_base(locate_base(BASE, client)).path
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_sharded_weights(api: HfApi, client: Hub) -> None:
    """What describes the model is fetched, and the shards that the index names, and nothing twice."""
    put(api, *DESCRIBING, *NOT_NEEDED, *SHARDS, "model.safetensors.index.json")
    assert fetched(client) - {".gitattributes"} == {*DESCRIBING, *SHARDS, "model.safetensors.index.json"}


def test_progress(api: HfApi, client: Hub) -> None:
    """What is fetched is counted as it comes, and once more as it is compared; what is here already only there."""
    put(api, *DESCRIBING, *SHARDS, "model.safetensors.index.json")
    seen: dict[str, list[int]] = {}

    @contextmanager
    def shows(label: str, size: int) -> Iterator[Advance]:
        seen[label] = [size]
        yield seen[label].append

    located = locate_base(BASE, client)
    large = sum(file.size for file in located.files if file.sha256)
    for brought in (True, False):
        fetch_base(located, shows)
        (size, *fetched), (other, *compared) = seen.values()
        assert size == other == located.size and sum(compared) == large
        # The index was fetched to know of the weights.
        assert large <= sum(fetched) <= size if brought else not fetched


def test_what_describes_a_model(api: HfApi, client: Hub) -> None:
    """Without its weights, what describes a model is fetched, and what their index says."""
    put(api, *DESCRIBING, *SHARDS, "model.safetensors.index.json")
    located = locate_base(BASE, client)
    folder = fetch_base(located.described).path
    assert not list(folder.glob("*.safetensors")) and (folder / "model.safetensors.index.json").is_file()
    assert 0 < located.described.size < located.size


def test_single_file(api: HfApi, client: Hub) -> None:
    """Where the weights are in one file, that is loaded, whatever an index says."""
    put(api, *DESCRIBING, *NOT_NEEDED, *SHARDS, "model.safetensors", "model.safetensors.index.json")
    assert fetched(client) == {*DESCRIBING, "model.safetensors"}


def test_size(api: HfApi, client: Hub) -> None:
    """The size is that of what is fetched."""
    put(api, *DESCRIBING, "consolidated.safetensors", "model.safetensors")
    assert locate_base(BASE, client).size == sum(2 + len(name) for name in {*DESCRIBING, "model.safetensors"})


def test_index_that_names_what_is_not_there(api: HfApi, client: Hub) -> None:
    """Only files of the repository are fetched; that one is missing is told where weights are read."""
    put(api, *DESCRIBING, "model-00001-of-00002.safetensors", "model.safetensors.index.json")
    assert not {"model-00002-of-00002.safetensors"} & fetched(client)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damaged_file(api: HfApi, client: Hub, name: str) -> None:
    """A byte that flipped on the way or on the disk is found, in large files and small ones, and told by its path."""
    put(api, *DESCRIBING, "model.safetensors")
    located = locate_base(BASE, client)
    whole = fetch_base(located)
    path = (whole.path / name).resolve()
    content = path.read_bytes()
    path.write_bytes(b"[" + content[1:])
    with pytest.raises(ToolError, match=f"was damaged on its way or on the disk: {name} is not the Hub's") as caught:
        fetch_base(located)
    assert str(path) in str(caught.value.remedy)
    path.unlink()
    assert fetch_base(located) == whole


def test_revision_that_the_base_does_not_have(api: HfApi, client: Hub) -> None:
    """A revision that a trainer made up is told as that, with the line that says which one it was."""
    put(api, *DESCRIBING, "model.safetensors")
    with pytest.raises(ReleaseError, match="acme/base has no revision unsloth on the Hub") as caught:
        locate_base(BaseModel(id=BASE.id, revision="unsloth"), client)
    assert '[bases."acme/base"] revision = "main"' in str(caught.value.remedy)


def test_model_that_is_nowhere(client: Hub) -> None:
    """A model that no Hub has is told with the ways to name it."""
    with pytest.raises(ReleaseError, match="there is no model acme/none on the Hub"):
        locate_base(BaseModel(id="acme/none"), client)


# Code of its own

OWN = {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}


def put_own(api: HfApi) -> None:
    put(api, *DESCRIBING - {"config.json"}, *NOT_NEEDED, "model.safetensors", "own/part.py", "own/more/part.py")
    config = CommitOperationAdd("config.json", json.dumps(OWN).encode())
    api.create_commit(BASE.id, [config], commit_message="config")


def test_code_is_known_before_the_weights(api: HfApi, client: Hub, tmp_path: Path) -> None:
    """What a base wants to run is known when its configuration is there, and nothing else."""
    pytest.importorskip("transformers")
    put_own(api)
    assert code_of_base(locate_base(BASE, client)) == ("configuration_own.OwnConfig",)
    assert {path.name for path in (tmp_path / "cache").rglob("*.*") if "snapshots" in path.parts} == {"config.json"}


def test_code_is_fetched_where_it_is_trusted(api: HfApi, client: Hub) -> None:
    """Code comes with the model only where the policy says that it may run."""
    put_own(api)
    without = fetch_base(locate_base(BASE, client))
    assert not list(without.path.rglob("*.py"))
    trusted = fetch_base(locate_base(replace(BASE, trust_remote_code=True), client))
    found = {path.relative_to(trusted.path).as_posix() for path in trusted.path.rglob("*.py")}
    assert found == {"modeling_x.py", "own/part.py"}
    assert (without.trust_remote_code, trusted.trust_remote_code) == (False, True)


def test_damaged_configuration(api: HfApi, client: Hub) -> None:
    """A configuration that was damaged is told as that, before anything in it counts."""
    put_own(api)
    located = locate_base(BASE, client)
    path = fetch_base(located).path / "config.json"
    path.resolve().write_text("[")
    with pytest.raises(ToolError, match=r"was damaged .*config\.json"):
        code_of_base(located)
