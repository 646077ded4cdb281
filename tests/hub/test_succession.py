"""Versions that follow each other on the Hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from msgspec import Struct
from tagship.hub.connection import Hub
from tagship.hub.succession import lead_on, lead_to, lines_to, released_repos
from tagship.hub_server.app import EmbeddedHub
from tagship.naming.tags import VersionTag, read_tag
from tagship.naming.variant import Variant
from tagship.policy.config import Config, load_config
from tagship.policy.formats import FormatPolicy

pytestmark = pytest.mark.usefixtures("quiet_client")

POLICY = """
[project]
namespace = "acme"
[formats.vllm]
[formats.ollama]
quants = ["q4_k_m", "q8_0"]
"""
CARD = "---\nlicense: mit\n---\n\n# It\n"


class Target(Struct, frozen=True, dict=True):
    policy: FormatPolicy
    variant: Variant
    repo_id: str


@pytest.fixture
def api(hub: EmbeddedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return HfApi(endpoint=hub.url, token=False)


@pytest.fixture
def client(api: HfApi) -> Iterator[Hub]:
    return Hub(lambda: api, embedded=False)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "release.toml").write_text(POLICY)
    return load_config(tmp_path / "release.toml", {})


def tag(config: Config, name: str) -> VersionTag:
    return read_tag(name, config.streams)


def put(api: HfApi, repo_id: str, name: str | None, card: str = CARD) -> None:
    """Put a repo there, and tag it."""
    api.create_repo(repo_id)
    api.create_commit(repo_id, [CommitOperationAdd("README.md", card.encode())], commit_message="card")
    if name:
        api.create_tag(repo_id, tag=name)


def targets(config: Config) -> list[Target]:
    return [
        Target(policy, variant, f"acme/phi3-minimal-{variant.label}-v2.0.0")
        for policy in config.formats
        for variant in policy.format.variants(policy.settings, ())
    ]


def test_nobody_is_led_to_what_is_private(api: HfApi, client: Hub) -> None:
    """A public card says nothing of a private repo; one that is private, too, leads there."""
    for name in ("v1.0.0", "v2.0.0"):
        put(api, f"acme/phi3-minimal-vllm-{name}", name)
    first, second = (f"acme/phi3-minimal-vllm-{name}" for name in ("v1.0.0", "v2.0.0"))
    api.update_repo_settings(second, private=True)
    assert not lead_to(client, first, second)
    api.update_repo_settings(first, private=True)
    assert lead_to(client, first, second)


def test_released_repos(api: HfApi, client: Hub, config: Config) -> None:
    """The repos of the same model, format and quantization type are found by name and tag."""
    put(api, "acme/phi3-minimal-vllm-v1.0.0", "v1.0.0")
    put(api, "acme/phi3-minimal-q8_0-gguf-v1.0.0", "v1.0.0")
    put(api, "acme/phi3-minimal-vllm-v2.0.0", None)  # begun, and never released
    put(api, "acme/phi3-other-vllm-v1.0.0", "v1.0.0")
    put(api, "acme/phi3-minimal-vllm-v0.9.0", "v0.9.0")
    put(api, "acme/of-something-else", "v1.0.0")
    tags = [tag(config, name) for name in ("v2.0.0", "v1.0.0", "v0.9.0", "v0.1.0")]
    found = released_repos(client, config, tags, targets(config)[0])
    assert {known.name: repo_id for known, repo_id in found.items()} == {
        "v1.0.0": "acme/phi3-minimal-vllm-v1.0.0",
        "v0.9.0": "acme/phi3-minimal-vllm-v0.9.0",
    }


@pytest.mark.parametrize(
    ("there", "released", "leads"),
    [
        (("v1.0.0", "v2.0.0"), "v2.0.0", {"v1.0.0": "v2.0.0"}),
        (("v1.0.0", "v1.0.1", "v2.0.0"), "v1.0.1", {"v1.0.0": "v1.0.1", "v1.0.1": "v2.0.0"}),
        (("v1.0.0", "v2.0.0-rc.1"), "v2.0.0-rc.1", {}),
        (("v1.0.0", "v2.0.0-rc.1", "v2.0.0"), "v2.0.0", {"v1.0.0": "v2.0.0", "v2.0.0-rc.1": "v2.0.0"}),
        (("v2.0.0-rc.1", "v2.0.0"), "v2.0.0-rc.1", {"v2.0.0-rc.1": "v2.0.0"}),
        (("v1.0.0", "v2.0.0", "v3.0.0"), "v3.0.0", {"v2.0.0": "v3.0.0"}),
    ],
)
def test_leading_on(
    api: HfApi, client: Hub, config: Config, there: tuple[str, ...], released: str, leads: dict[str, str]
) -> None:
    """Each version leads to the next final one; only those are looked at of which a release changes that."""
    repos = {tag(config, name): f"acme/it-{name}" for name in there}
    for known, repo_id in repos.items():
        put(api, repo_id, known.name)
    changed = lead_on(client, repos, tag(config, released))
    assert dict(changed) == {f"acme/it-{one}": f"acme/it-{other}" for one, other in leads.items()}


def test_leading_to_the_next(api: HfApi, client: Hub) -> None:
    """The card on main names the next repo, and says all else as before; the tag stays where it was. Once is enough."""
    put(api, "acme/old", "v1.0.0")
    put(api, "acme/new", None)
    assert lead_to(client, "acme/old", "acme/new")
    card = ModelCard(Path(api.hf_hub_download("acme/old", "README.md")).read_text())
    assert card.data.to_dict() == {"license": "mit", "new_version": "acme/new"}
    assert card.text.strip() == "# It"
    assert Path(api.hf_hub_download("acme/old", "README.md", revision="v1.0.0")).read_text() == CARD
    head = api.model_info("acme/old").sha
    assert not lead_to(client, "acme/old", "acme/new")
    assert api.model_info("acme/old").sha == head


def test_one_that_leads_elsewhere(api: HfApi, client: Hub) -> None:
    """A repo that leads to another one, of a higher version perhaps, is left."""
    put(api, "acme/old", None, "---\nnew_version: acme/other\n---\n")
    assert not lead_to(client, "acme/old", "acme/new")


def test_repo_without_a_card(api: HfApi, client: Hub) -> None:
    """There is nothing to say it in."""
    api.create_repo("acme/bare")
    assert not lead_to(client, "acme/bare", "acme/new")


def test_repos_of_all_types(api: HfApi, client: Hub, tmp_path: Path) -> None:
    """Where quantization types are together, their repo follows the one that had them together."""
    (tmp_path / "release.toml").write_text(POLICY + "together = true\n")
    config = load_config(tmp_path / "release.toml", {})
    for version in ("v1.0.0", "v2.0.0"):
        put(api, f"acme/phi3-minimal-gguf-{version}", version)
    gguf = next(policy for policy in config.formats if policy.shared)
    target = Target(gguf, gguf.variants[0], "acme/phi3-minimal-gguf-v2.0.0")
    tags = [tag(config, name) for name in ("v1.0.0", "v2.0.0")]
    repos = released_repos(client, config, tags, target)
    assert list(repos.values()) == ["acme/phi3-minimal-gguf-v1.0.0", "acme/phi3-minimal-gguf-v2.0.0"]
    assert lead_on(client, repos, tags[1]) == [("acme/phi3-minimal-gguf-v1.0.0", "acme/phi3-minimal-gguf-v2.0.0")]


def test_from_repos_of_one_type_to_that_of_all(api: HfApi, client: Hub, tmp_path: Path) -> None:
    """When quantization types come together, the repos that each had lead to theirs, once."""
    (tmp_path / "release.toml").write_text(POLICY + "together = true\n")
    config = load_config(tmp_path / "release.toml", {})
    shared = "acme/phi3-minimal-gguf-v2.0.0"
    for quant in ("q4_k_m", "q8_0"):
        put(api, f"acme/phi3-minimal-{quant}-gguf-v1.0.0", "v1.0.0")
    put(api, "acme/phi3-minimal-q2_k-gguf-v1.0.0", "v1.0.0")  # which is not released any more
    put(api, shared, "v2.0.0")
    gguf = next(policy for policy in config.formats if policy.shared)
    sharing = [Target(gguf, variant, shared) for variant in gguf.format.variants(gguf.settings, ())]
    tags = [tag(config, name) for name in ("v1.0.0", "v2.0.0")]
    led = [lead_on(client, repos, tags[1]) for repos in lines_to(client, config, tags, sharing)]
    assert led == [[(f"acme/phi3-minimal-{quant}-gguf-v1.0.0", shared)] for quant in ("q4_k_m", "q8_0")]
    assert [lead_on(client, repos, tags[1]) for repos in lines_to(client, config, tags, sharing)] == [[], []]
    (one,) = lines_to(client, config, tags, targets(config)[:1])
    assert one == released_repos(client, config, tags, targets(config)[0])
