"""A Collection for each model: what was released of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tagship.hub.collections import collect
from tagship.hub.connection import Hub
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import ReleaseError, ToolError

from tests.hub_server.team import TEAM, Api, api_of

pytestmark = pytest.mark.usefixtures("quiet_client")

REPOS = {"acme/phi3-minimal-vllm": "vllm", "acme/phi3-minimal-gguf": "ollama q4_k_m, ollama q8_0"}

As = Callable[[str], Hub]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with EmbeddedHub(root=tmp_path / "hub", directory=TEAM) as running:
        for repo_id in (*REPOS, "acme/phi3-minimal-lora"):
            api_of(running)("alice").create_repo(repo_id)
        yield api_of(running)


@pytest.fixture
def by(api: Api) -> As:
    """A function that opens the Hub as one who has a token."""

    def opened(token: str) -> Hub:
        client = api(token)
        return Hub(lambda: client, embedded=False)

    return opened


def held(api: Api, slug: str) -> dict[str, str | None]:
    return {item.item_id: item.note for item in api("alice").get_collection(slug).items}


def test_collected_once(api: Api, by: As) -> None:
    """The first release makes the collection, later ones add what it has not got, and what is said there stays."""
    slug, added = collect(by("alice"), "acme", "phi3-minimal", REPOS, private=False)
    assert (added, held(api, slug)) == (list(REPOS), REPOS)
    assert not api("").get_collection(slug).private
    item = next(iter(api("alice").get_collection(slug).items))
    api("alice").update_collection_item(slug, item.item_object_id, note="mine")
    more = REPOS | {"acme/phi3-minimal-lora": "lora"}
    assert collect(by("alice"), "acme", "phi3-minimal", more, private=False) == (slug, ["acme/phi3-minimal-lora"])
    assert held(api, slug) == more | {"acme/phi3-minimal-vllm": "mine"}
    assert collect(by("alice"), "acme", "phi3-minimal", more, private=False) == (slug, [])
    assert len(list(api("").list_collections(owner="acme"))) == 1


def test_models_and_namespaces_apart(api: Api, by: As) -> None:
    """Each model has its own, and somebody else's of the same title is not taken for it."""
    api("carol").create_collection("phi3-minimal", namespace="carol")
    slugs = {collect(by("alice"), "acme", title, REPOS, private=False)[0] for title in ("phi3-minimal", "phi3-other")}
    assert len(slugs) == 2 and all(slug.startswith("acme/") for slug in slugs)


def test_private(api: Api, by: As) -> None:
    """A private release gets a private collection; one that everybody sees is not told of it."""
    slug, _ = collect(by("alice"), "acme", "phi3-private", REPOS, private=True)
    assert api("alice").get_collection(slug).private
    public, _ = collect(by("alice"), "acme", "phi3-minimal", {}, private=False)
    with pytest.raises(ReleaseError, match="is public"):
        collect(by("alice"), "acme", "phi3-minimal", REPOS, private=True)
    assert held(api, public) == {}


def test_who_may_not(by: As) -> None:
    with pytest.raises(ToolError, match="make the collection phi3-minimal of acme"):
        collect(by("carol"), "acme", "phi3-minimal", REPOS, private=False)
