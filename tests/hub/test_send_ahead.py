"""Large files that are sent ahead of the commit, by one machine, and committed by another from their digests alone."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError
from msgspec.structs import replace
from tagship.artifacts.manifest import list_files
from tagship.hub.connection import Hub
from tagship.hub.publish import Upload, check_published, publish, send_ahead
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import ReleaseError, ToolError

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model-v1"
WEIGHTS = hashlib.sha256(b"weights").digest() * 100_000


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


@pytest.fixture
def client(api: HfApi) -> Iterator[Hub]:
    yield Hub(lambda: api, embedded=False)


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    """A release's folder."""
    folder = tmp_path / "model"
    (folder / "parts").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"vocab_size": 10}))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# It\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "parts" / "more.gguf").write_bytes(WEIGHTS[::-1])
    files = list_files(folder)
    return Upload(repo_id=REPO, folder=folder, files=files, private=False, message="Release", description="", tag="v1")


def without(upload: Upload, sent: frozenset[str]) -> Upload:
    """The same where the files that were sent are not."""
    for path in sent:
        (upload.folder / path).unlink()
    return replace(upload, sent=sent)


def test_what_is_sent_shows_when_it_is_committed(api: HfApi, client: Hub, upload: Upload) -> None:
    """Weights that were sent are not to be seen; the commit that names them has all files, each with its bytes."""
    sent = frozenset(send_ahead(client, upload))
    assert sent == {"model.safetensors", "parts/more.gguf"}
    assert [item.path for item in api.list_repo_tree(REPO, recursive=True)] == [".gitattributes"]
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO, "model.safetensors", local_dir=upload.folder / "never")
    gathered = without(upload, sent)
    commit = publish(client, gathered)
    assert check_published(client, gathered, commit) == upload.files
    found = api.hf_hub_download(REPO, "model.safetensors", local_dir=upload.folder.parent / "got")
    assert Path(found).read_bytes() == WEIGHTS


def test_publishing_again(client: Hub, upload: Upload) -> None:
    """The same once more, of files that were sent by then, makes no other commit; nor does sending them once more."""
    gathered = without(upload, frozenset(send_ahead(client, upload)))
    assert publish(client, gathered).sha == publish(client, gathered).sha


def test_what_was_never_sent(api: HfApi, client: Hub, upload: Upload) -> None:
    """A commit of a file that the Hub does not have is refused, and the repo has nothing of it."""
    other = without(upload, frozenset({"model.safetensors"}))
    with pytest.raises(ToolError, match=r"commit to acme/model-v1: .*was never uploaded") as caught:
        publish(client, other)
    assert "invoke work" in str(caught.value.remedy)
    assert [item.path for item in api.list_repo_tree(REPO, recursive=True)] == [".gitattributes"]


def test_what_was_changed_is_not_sent(client: Hub, upload: Upload) -> None:
    """Only the files that were verified are sent."""
    (upload.folder / "model.safetensors").write_bytes(WEIGHTS[1:] + b"x")
    with pytest.raises(ReleaseError, match="was changed since it was verified"):
        list(send_ahead(client, upload))
