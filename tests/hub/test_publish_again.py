"""What is there already when something is published: the same release, or another one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from msgspec.structs import replace
from tagship.artifacts.manifest import (
    CARD_FILE,
    MANIFEST_FILE,
    SEALS,
    file_entry,
    list_files,
    with_evidence,
    write_manifest,
)
from tagship.hub.connection import Hub
from tagship.hub.publish import check_published, publish, tag_published
from tagship.hub.upload import Upload
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import ReleaseError
from tagship.verify.evidence import PASSED, Evidence

from tests import tiny

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/phi3-vllm-v1.0.0"
CARD = "---\nlicense: mit\n---\n\nKL 0.0{}\n"


@pytest.fixture
def client(hub: EmbeddedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return Hub(lambda: HfApi(endpoint=hub.url, token=False), embedded=False)


def upload(folder: Path, weights: str, card: str, date: str, *, run: str = "phi3-minimal", **more: Any) -> Upload:
    """A release v1.0.0 as one machine made and verified it."""
    folder.mkdir()
    (folder / "model.safetensors").write_text(weights)
    (folder / CARD_FILE).write_text(card)
    manifest = tiny.manifest(repo_id=REPO, version="1.0.0", tag="v1.0.0", run=run, files=list_files(folder), **more)
    write_manifest(folder, with_evidence(manifest, Evidence(outcome=PASSED, copied=True, date=date)))
    return Upload(
        repo_id=REPO,
        folder=folder,
        files=(*manifest.files, file_entry(folder, MANIFEST_FILE)),
        private=False,
        message="Release v1.0.0",
        description="",
        tag="v1.0.0",
    )


def test_same_release_verified_elsewhere(client: Hub, tmp_path: Path) -> None:
    """A release that another machine verified with other figures is the one that is there, which stays as it is."""
    first = upload(tmp_path / "one", "weights", CARD.format(13), "2025-09-15")
    sent = publish(client, first)
    assert check_published(client, first, sent) == first.files
    tag_published(client, first, sent)
    assert publish(client, first) == sent
    again = upload(tmp_path / "two", "weights", CARD.format(14), "2025-09-16")
    found = publish(client, again)
    assert found == replace(sent, kept=(CARD_FILE, MANIFEST_FILE))
    assert [entry.path for entry in check_published(client, again, found)] == ["model.safetensors"]
    tag_published(client, again, found)
    assert client.api.model_info(REPO).sha == sent.sha


def test_same_release_sealed_elsewhere(client: Hub, tmp_path: Path) -> None:
    """Seals of another run of CI, or of another key, are no other release: what was published with it stays."""

    def sealed(made: Upload, text: str) -> Upload:
        for name in SEALS:
            (made.folder / name).write_text(text)
        return replace(made, files=(*made.files, *(file_entry(made.folder, name) for name in SEALS)))

    first = sealed(upload(tmp_path / "one", "weights", CARD.format(13), "2025-09-15"), "one")
    sent = publish(client, first)
    tag_published(client, first, sent)
    again = sealed(upload(tmp_path / "two", "weights", CARD.format(13), "2025-09-15"), "two")
    assert publish(client, again) == replace(sent, kept=SEALS)
    unsealed = upload(tmp_path / "three", "weights", CARD.format(13), "2025-09-15")
    assert publish(client, unsealed).sha == sent.sha


def test_partial_release_that_was_completed(client: Hub, tmp_path: Path) -> None:
    """What a partial release published stays as it is when the rest of it is done, though it names other repos then."""
    partial = upload(tmp_path / "one", "weights", CARD.format(13), "2025-09-15", missing=("ollama q4_k_m",))
    sent = publish(client, partial)
    tag_published(client, partial, sent)
    whole = upload(
        tmp_path / "two", "weights", CARD.format(13), "2025-09-15", siblings=("acme/phi3-q4_k_m-gguf-v1.0.0",)
    )
    assert publish(client, whole) == replace(sent, kept=(MANIFEST_FILE,))


@pytest.mark.parametrize(
    ("weights", "run", "told"),
    [
        ("Weights", "phi3-minimal", "model.safetensors is different"),
        ("weights", "phi3-other", "release.json is different"),
    ],
)
def test_other_release_under_the_same_tag(client: Hub, tmp_path: Path, weights: str, run: str, told: str) -> None:
    """Other weights, or a manifest that says something else than what was shown, are another release."""
    first = upload(tmp_path / "one", "weights", CARD.format(13), "2025-09-15")
    tag_published(client, first, publish(client, first))
    with pytest.raises(ReleaseError, match="was released before with other files") as caught:
        publish(client, upload(tmp_path / "two", weights, CARD.format(14), "2025-09-16", run=run))
    assert told in str(caught.value)
