"""Collections, by the real client."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from tagship.hub_server.app import EmbeddedHub

from tests.hub_server.team import TEAM

pytestmark = pytest.mark.usefixtures("quiet_client")

Api = Callable[[str], HfApi]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with EmbeddedHub(root=tmp_path / "hub", directory=TEAM) as hub:
        HfApi(endpoint=hub.url, token="alice").create_repo("acme/model")
        yield lambda token: HfApi(endpoint=hub.url, token=token or False)


def test_life(api: Api) -> None:
    """A collection is made, found by any slug that it ever had, changed, listed and deleted by its owner."""
    made = api("alice").create_collection("Our models!", namespace="acme", description="All")
    assert made.slug.startswith("acme/our-models-")
    assert made.url == f"{api('').endpoint}/collections/{made.slug}"
    with pytest.raises(HfHubHTTPError, match="403"):
        api("carol").update_collection_metadata(made.slug, title="Mine")
    changed = api("alice").update_collection_metadata(made.slug, title="Best", theme="pink")
    assert (changed.title, changed.theme, changed.description) == ("Best", "pink", "All")
    assert changed.slug != made.slug
    assert api("").get_collection(made.slug).slug == changed.slug
    assert [one.slug for one in api("").list_collections(owner="acme")] == [changed.slug]
    assert list(api("").list_collections(owner="carol")) == []
    api("alice").delete_collection(made.slug)
    with pytest.raises(HfHubHTTPError, match="404"):
        api("alice").delete_collection(made.slug)


def test_private(api: Api) -> None:
    """A private collection is for its namespace only."""
    made = api("alice").create_collection("Plans", namespace="acme", private=True)
    assert api("bob").get_collection(made.slug).private
    with pytest.raises(HfHubHTTPError, match="404"):
        api("carol").get_collection(made.slug)
    assert list(api("").list_collections()) == []


def test_items(api: Api) -> None:
    """Items are added once, noted, put in order and removed; one that has become private is shown to nobody else."""
    alice = api("alice")
    alice.create_repo("acme/data", repo_type="dataset")
    slug = alice.create_collection("Models", namespace="acme").slug
    alice.add_collection_item(slug, "acme/model", "model", note="ours")
    alice.add_collection_item(slug, "acme/data", "dataset")
    other = alice.create_collection("Other", namespace="acme").slug
    alice.add_collection_item(slug, other, "collection")
    with pytest.raises(HfHubHTTPError, match="409"):
        alice.add_collection_item(slug, "acme/model", "model")
    alice.add_collection_item(slug, "acme/model", "model", exists_ok=True)
    with pytest.raises(HfHubHTTPError, match="404"):
        alice.add_collection_item(slug, "acme/model", "dataset")
    found = api("").get_collection(slug).items
    assert [(item.item_id, item.item_type, item.note) for item in found] == [
        ("acme/model", "model", "ours"),
        ("acme/data", "dataset", None),
        (other, "collection", None),
    ]
    alice.update_collection_item(slug, found[0].item_object_id, note="old", position=1)
    assert [item.note for item in api("").get_collection(slug).items] == [None, "old", None]
    assert [one.slug for one in api("").list_collections(item="models/acme/model")] == [slug]
    alice.update_repo_settings("acme/model", private=True)
    assert [item.item_id for item in api("").get_collection(slug).items] == ["acme/data", other]
    alice.delete_collection_item(slug, found[1].item_object_id)
    assert [item.item_id for item in alice.get_collection(slug).items] == ["acme/model", other]
