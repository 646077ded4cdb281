"""What the Hub says of a base that is not fetched."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from tagship.hub.base_questions import HubAnswer, ask_about, remote_specs
from tagship.hub.connection import Hub
from tagship.hub_server.app import EmbeddedHub
from tagship.runs.base import BaseModel

from tests import tiny

ID = "acme/base"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = {"metadata": {"total_size": 48}, "weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}
CARD = "---\nlicense: other\nlicense_name: acme-terms\nlicense_link: https://acme.example/terms\n---\n"

pytestmark = pytest.mark.usefixtures("quiet_client")


@pytest.fixture
def api(hub: EmbeddedHub, tmp_path: Path) -> HfApi:
    """A client of an embedded Hub that has a sharded model."""
    client = HfApi(endpoint=hub.url, token=False)
    client.create_repo(ID)
    first, second = (tmp_path / name for name in SHARDS)
    tiny.write_tensors(first, {"a": np.zeros((2, 2), np.float32)})
    tiny.write_tensors(second, {"b": np.zeros((4, 2), np.float32)})
    texts = {"config.json": "{}", "model.safetensors.index.json": json.dumps(INDEX), "README.md": CARD}
    operations = [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
    operations += [CommitOperationAdd(path.name, path) for path in (first, second)]
    client.create_commit(ID, operations, commit_message="files")
    return client


@pytest.fixture
def client(api: HfApi) -> Iterator[Hub]:
    return Hub(lambda: api, embedded=False)


def asked(client: Hub, revision: str | None = None, name: str = ID) -> HubAnswer:
    return ask_about(BaseModel(id=name, revision=revision), client)


def test_what_it_has(client: Hub) -> None:
    """Its commit, its license, the sizes of its files, and the small ones that describe it."""
    answer = asked(client)
    assert (answer.why_not, answer.commit, answer.gated) == (None, answer.head, False)
    assert answer.license["license_name"] == "acme-terms"
    assert answer.sizes.keys() >= {*SHARDS, "config.json"}
    assert json.loads(answer.texts["model.safetensors.index.json"]) == INDEX


def test_headers_alone(client: Hub) -> None:
    """Dtype and shape of every tensor come without fetching a shard; one that is not there is left out."""
    specs = remote_specs(asked(client), BaseModel(id=ID), [*SHARDS, "model-00003-of-00002.safetensors"])
    assert specs == {"a": ("F32", (2, 2)), "b": ("F32", (4, 2))}


def test_main_that_moved_on(client: Hub, api: HfApi) -> None:
    """A recorded commit that main went on from is told, with the number of commits since."""
    before = api.model_info(ID).sha
    assert (asked(client, before).commit, asked(client, before).behind) == (before, None)
    for number in range(2):
        api.create_commit(ID, [CommitOperationAdd(f"note-{number}", b"x")], commit_message="note")
    answer = asked(client, before)
    assert (answer.commit, answer.behind) == (before, 2)
    assert answer.head == api.model_info(ID).sha != before


def test_what_it_does_not_have(client: Hub) -> None:
    """A revision that is not there, and a model that is not there, are told from a Hub that does not answer."""
    answer = asked(client, "0" * 40)
    assert answer.why_not is None and answer.head and answer.commit is None
    assert asked(client, name="acme/none").unknown
    nobody = ask_about(BaseModel(id=ID), Hub(lambda: HfApi(endpoint="http://127.0.0.1:9"), embedded=False))
    assert nobody.why_not and not nobody.unknown


def test_offline(client: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked where HF_HUB_OFFLINE says so."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert asked(client).why_not == "HF_HUB_OFFLINE is set"
