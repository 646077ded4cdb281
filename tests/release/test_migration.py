"""From date-based names to versioned ones, with real archives and the embedded Hub."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars
from msgspec import Struct
from tagship.artifacts.archive import SUMS_FILE, read_checksums, write_checksums
from tagship.artifacts.manifest import Manifest, write_manifest
from tagship.cli.migrate import migrate_names
from tagship.cli.session import open_session
from tagship.hub_server.app import EmbeddedHub, Role
from tagship.release.options import Options
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, ToolError, UsageError

from tests import tiny
from tests.conftest import PHI3, POLICY, RUN, GitFolder

pytestmark = pytest.mark.slow

ARTIFACT, NEW_ARTIFACT = "vllm-adapter-20250915.tar.gz", "vllm-adapter-v2.0.0.tar.gz"
REPO, NEW_REPO = "phi3-avro-vllm-20250915", "phi3-avro-vllm-v2.0.0"
OTHER_REPO, NEW_OTHER_REPO = "phi3-avro-lora-20250915", "phi3-avro-lora-v2.0.0"
DATED_REPO, NEW_DATED_REPO = f"{RUN}-vllm-20250915-124051", "phi3mini4k-minimal-vllm-v2.0.0"


class Workplace(Struct, frozen=True, kw_only=True):
    """A project with a folder of archives and an embedded Hub."""

    project: GitFolder

    @property
    def dist(self) -> Path:
        return self.project.folder / "dist"

    @property
    def hub(self) -> Path:
        return self.project.folder / ".tagship/hub"

    def archive(self, name: str) -> str:
        """Write an archive with its line in SHA256SUMS; returns its checksum."""
        self.dist.mkdir(exist_ok=True)
        (self.dist / name).write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        write_checksums(self.dist, read_checksums(self.dist) | {name: digest})
        return digest

    def archives(self) -> set[str]:
        return {path.name for path in self.dist.glob("*.tar.gz")}

    @contextmanager
    def api(self) -> Iterator[HfApi]:
        with EmbeddedHub(root=self.hub) as server:
            yield HfApi(endpoint=server.url, token=False)

    def repos(self, *names: str) -> None:
        """Make model repos with a file that holds the repo's name."""
        with self.api() as api:
            for name in names:
                api.create_repo(f"acme/{name}")
                api.upload_file(path_or_fileobj=name.encode(), path_in_repo="name.txt", repo_id=f"acme/{name}")

    def listed(self) -> set[str]:
        with self.api() as api:
            return {model.id.removeprefix("acme/") for model in api.list_models(author="acme")}

    def policy(self, more: str) -> None:
        self.project.write("release.toml", POLICY + more)

    def migrate(self, *mapped: str, yes: bool = False, **options: Any) -> dict[str, Any]:
        policy = str(self.project.folder / "release.toml")
        with open_session(policy, Options(**options), Console(interactive=False)) as session:
            return migrate_names(session, mapped, yes=yes)

    def moves(self, *mapped: str, **more: Any) -> dict[str, str]:
        return {move["old"]: move["new"] for move in self.migrate(*mapped, **more)["moves"]}


@pytest.fixture
def place(project: GitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A project without archives and without a Hub; clients keep their files in a temporary folder."""
    disable_progress_bars()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet-cache"))
    for name in ("HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return Workplace(project=project)


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    """A function that makes the manifest of an untagged vLLM export of the project's run."""

    def make(commit: str, **changes: Any) -> Manifest:
        return tiny.manifest(repo_id=f"acme/{DATED_REPO}", commit=commit, run=RUN, base_model=PHI3, **changes)

    return make


def put_manifest(place: Workplace, repo: str, made: Manifest, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    write_manifest(folder, made)
    with place.api() as api:
        path = folder / "release.json"
        api.upload_file(path_or_fileobj=path, path_in_repo="release.json", repo_id=f"acme/{repo}")


# The guide's example


def test_guide_s_example(place: Workplace) -> None:
    """vllm-adapter-20250915 becomes vllm-adapter-v2.0.0, phi3-avro-vllm-20250915 becomes phi3-avro-vllm-v2.0.0."""
    digest = place.archive(ARTIFACT)
    place.repos(REPO)
    document = place.migrate(tag="v2.0.0", yes=True)
    assert document == {
        "applied": True,
        "moves": [
            {"what": "artifact", "old": ARTIFACT, "new": NEW_ARTIFACT},
            {"what": "repo", "old": REPO, "new": NEW_REPO},
        ],
        "unmapped": [],
    }
    assert place.archives() == {NEW_ARTIFACT}
    assert (place.dist / SUMS_FILE).read_text() == f"{digest}  {NEW_ARTIFACT}\n"
    assert place.listed() == {NEW_REPO}


def test_old_repo_can_still_be_read(place: Workplace, tmp_path: Path) -> None:
    """Whoever knows the old name finds the moved repo under it, files and all."""
    place.repos(REPO)
    place.migrate(tag="v2.0.0", yes=True)
    with place.api() as api:
        assert api.model_info(f"acme/{REPO}").id == f"acme/{NEW_REPO}"
        for name in (REPO, NEW_REPO):
            path = api.hf_hub_download(f"acme/{name}", "name.txt", cache_dir=tmp_path / name)
            assert Path(path).read_text() == REPO


def test_plan_changes_nothing(place: Workplace) -> None:
    """Without --yes the moves are shown, and nothing is moved."""
    place.archive(ARTIFACT)
    place.repos(REPO)
    sums = (place.dist / SUMS_FILE).read_bytes()
    document = place.migrate(tag="v2.0.0")
    assert not document["applied"] and len(document["moves"]) == 2
    assert place.archives() == {ARTIFACT} and place.listed() == {REPO}
    assert (place.dist / SUMS_FILE).read_bytes() == sums


def test_twice(place: Workplace) -> None:
    """The same command again finds nothing to do."""
    place.archive(ARTIFACT)
    place.repos(REPO, DATED_REPO)
    commands: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        ((), {"tag": "v2.0.0"}),
        ((f"{ARTIFACT}={NEW_ARTIFACT}", f"acme/{REPO}=acme/{NEW_REPO}"), {"tag": "v2.0.0"}),
        ((f"{ARTIFACT}=v2.0.0", f"{REPO}=2.0.0"), {"tag": "v2.0.0"}),
    ]
    assert len(place.moves(yes=True, tag="v2.0.0")) == 3
    for mapped, options in commands:
        assert place.migrate(*mapped, yes=True, **options) == {"applied": True, "moves": [], "unmapped": []}
    assert place.archives() == {NEW_ARTIFACT} and place.listed() == {NEW_REPO, NEW_DATED_REPO}


def test_nothing_there(place: Workplace) -> None:
    """Without archives and without a Hub there is nothing to do, and nothing is written."""
    assert place.migrate(tag="v2.0.0", yes=True)["moves"] == []
    assert not place.dist.exists() and not place.hub.exists()


# Where versions come from


def test_map(place: Workplace) -> None:
    """--map gives a version, a version tag or a whole name, with or without namespace and ending."""
    place.archive(ARTIFACT)
    place.repos(REPO, OTHER_REPO)
    assert place.moves(f"{ARTIFACT}=v1.0.0", f"acme/{REPO}=1.1.0", f"{OTHER_REPO}=acme/my-adapter") == {
        ARTIFACT: "vllm-adapter-v1.0.0.tar.gz",
        REPO: "phi3-avro-vllm-v1.1.0",
        OTHER_REPO: "my-adapter",
    }
    assert place.moves("vllm-adapter-20250915=own")[ARTIFACT] == "own.tar.gz"


def test_table(place: Workplace) -> None:
    """[migrate] maps as --map does, which goes before it, and --tag is for what neither names."""
    place.policy(f'[migrate]\n"{REPO}" = "v1.0.0"\n"{OTHER_REPO}" = "v1.0.0"\n')
    place.repos(REPO, OTHER_REPO, DATED_REPO)
    assert place.moves(f"{OTHER_REPO}=v1.1.0", tag="v2.0.0") == {
        REPO: "phi3-avro-vllm-v1.0.0",
        OTHER_REPO: "phi3-avro-lora-v1.1.0",
        DATED_REPO: NEW_DATED_REPO,
    }


def test_table_names_what_is_elsewhere(place: Workplace) -> None:
    """The table may name an archive that is on another machine, or gone: what is here is moved."""
    place.policy(f'[migrate]\n"{ARTIFACT}" = "{NEW_ARTIFACT}"\n"{REPO}" = "v2.0.0"\n"gone-20240101" = "gone"\n')
    place.repos(REPO)
    assert place.moves(yes=True) == {REPO: NEW_REPO}


def test_name_of_another_kind(place: Workplace) -> None:
    """A name that no pattern makes is moved where it is named, and left alone where it is not."""
    place.repos("my-model")
    assert place.moves() == {}
    assert place.moves("my-model=my-model-v1.0.0") == {"my-model": "my-model-v1.0.0"}


def test_tag_on_the_commit(place: Workplace, manifest: Callable[..., Manifest], tmp_path: Path) -> None:
    """The manifest in a repo names its commit; the version tag on that commit is the version."""
    place.repos(DATED_REPO)
    put_manifest(place, DATED_REPO, manifest(place.project.git("rev-parse", "HEAD")), tmp_path / "export")
    place.project.tag("v2.0.0", "Release")
    place.project.commit("Later")
    assert place.moves() == {DATED_REPO: NEW_DATED_REPO}


def test_tags_on_the_commit(place: Workplace, manifest: Callable[..., Manifest], tmp_path: Path) -> None:
    """Of several version tags on the commit, the order of [tags] decides, not the alphabet."""
    place.repos(DATED_REPO)
    put_manifest(place, DATED_REPO, manifest(place.project.git("rev-parse", "HEAD")), tmp_path / "export")
    for tag in ("export-v9.0.0", "model-v3.0.0", "v1.10.0", "v2.0.0", "v1.9.0"):
        place.project.tag(tag, "Release")
    assert place.moves() == {DATED_REPO: NEW_DATED_REPO}


def test_archive_by_its_export(place: Workplace, manifest: Callable[..., Manifest]) -> None:
    """An archive gets the version of the commit that the newest export of its run was made from."""
    place.archive(f"vllm-{RUN}.tar.gz")
    for day, commit in ((14, "0" * 40), (15, place.project.git("rev-parse", "HEAD"))):
        folder = place.project.folder / "exports" / f"{RUN}-vllm-{day}"
        folder.mkdir(parents=True)
        write_manifest(folder, manifest(commit, exported=datetime(2025, 9, day, tzinfo=UTC)))
    place.project.tag("v2.0.0", "Release")
    assert place.moves() == {f"vllm-{RUN}.tar.gz": f"vllm-{RUN}-v2.0.0.tar.gz"}


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"schema": 99}'])
def test_manifest_of_another_program(place: Workplace, text: str) -> None:
    """A release.json that is not ours tells no version, and does not stand in the way of other moves."""
    place.repos(REPO, OTHER_REPO)
    with place.api() as api:
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo="release.json", repo_id=f"acme/{REPO}")
    document = place.migrate(f"{OTHER_REPO}=v2.0.0")
    assert [move["old"] for move in document["moves"]] == [OTHER_REPO]
    assert [left["old"] for left in document["unmapped"]] == [REPO]


def test_no_version_is_known(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """A name whose version nothing tells stays, with what would tell it; the others are moved."""
    place.repos(REPO, OTHER_REPO)
    document = place.migrate(f"{REPO}=v2.0.0", yes=True)
    (left,) = document["unmapped"]
    assert left["old"] == OTHER_REPO
    assert left["reason"] == f"no version is known: --map {OTHER_REPO}=v1.0.0, or --tag for all"
    assert place.listed() == {NEW_REPO, OTHER_REPO}
    assert f"repo {OTHER_REPO}: no version is known" in capsys.readouterr().err


def test_build_metadata(place: Workplace) -> None:
    """A version with a plus keeps it in an archive's name, and has an underscore in a repo's."""
    place.archive(ARTIFACT)
    place.repos(REPO)
    assert place.moves(tag="v1.2.3+cu124", yes=True) == {
        ARTIFACT: "vllm-adapter-v1.2.3+cu124.tar.gz",
        REPO: "phi3-avro-vllm-v1.2.3_cu124",
    }
    assert place.moves(f"{ARTIFACT}=v1.2.3+cu124", f"{REPO}=v1.2.3+cu124") == {}


def test_tag_with_a_slash(place: Workplace) -> None:
    """A version tag of a stream with a slash is a version, not the end of a path."""
    place.policy('[tags]\nsemantic = { pattern = "выпуск/v{version}" }\n')
    place.repos(REPO)
    assert place.moves(f"{REPO}=выпуск/v2.0.0") == {REPO: NEW_REPO}


def test_own_older_style(place: Workplace) -> None:
    """A policy's own older style is migrated by its own pair of patterns, also where a version could be a date."""
    untagged = "{dataset}-{label}-{exported:%Y%m%d}"
    place.policy(f'[[naming.older.repo]]\ntagged = "{{dataset}}-{{label}}-{{version}}"\nuntagged = "{untagged}"\n')
    place.repos("avro-vllm-20250915")
    assert place.moves(tag="v2.0.0", yes=True) == {"avro-vllm-20250915": "avro-vllm-2.0.0"}
    assert place.moves(tag="v2.0.0") == {}


def test_old_name_that_says_too_little(place: Workplace) -> None:
    """Where a new name needs what the old one does not say, the name stays, with the field and the way out."""
    place.policy(
        '[[naming.older.repo]]\ntagged = "{dataset}-{label}-v{version}"\nuntagged = "{label}-{exported:%Y%m%d}"\n'
    )
    place.repos("vllm-20250915")
    (left,) = place.migrate(tag="v2.0.0")["unmapped"]
    assert "{dataset} is not known" in left["reason"]
    assert "--map vllm-20250915=NAME" in left["reason"]
    assert place.moves("vllm-20250915=avro-vllm-v2.0.0") == {"vllm-20250915": "avro-vllm-v2.0.0"}


# Collisions


def test_two_names_would_become_one(place: Workplace) -> None:
    """Two exports of one day can't both be v2.0.0: nothing is moved, and both are named."""
    place.repos(f"{RUN}-vllm-20250915-124051", f"{RUN}-vllm-20250916-080000")
    with pytest.raises(UsageError, match=f"would both become {NEW_DATED_REPO}") as caught:
        place.migrate(tag="v2.0.0", yes=True)
    assert caught.value.remedy is not None and caught.value.remedy.count("--map") == 2
    assert len(place.listed()) == 2


@pytest.mark.parametrize(("what", "old", "new"), [("archive", ARTIFACT, NEW_ARTIFACT), ("repo", REPO, NEW_REPO)])
def test_new_name_is_taken(place: Workplace, what: str, old: str, new: str) -> None:
    """A name is never moved onto another: by --map it is an error, else it stays with the reason."""
    place.repos("unrelated")
    for name in (old, new):
        place.archive(name) if what == "archive" else place.repos(name)
    with pytest.raises(UsageError, match=f"{old} would become {new}, which is there already"):
        place.migrate(f"{old}=v2.0.0", yes=True)
    document = place.migrate(tag="v2.0.0", yes=True)
    assert document["moves"] == []
    assert f"{new} is there already" in document["unmapped"][0]["reason"]
    held = place.archives() if what == "archive" else place.listed() - {"unrelated"}
    assert held == {old, new}
    if what == "archive":
        assert (place.dist / new).read_text() == new


# What was interrupted


def test_archive_moved_before_its_checksum(place: Workplace) -> None:
    """An archive whose rename was done and whose line was not: the same command mends SHA256SUMS."""
    digest, kept = place.archive(ARTIFACT), place.archive(f"lora-{RUN}-v1.0.0.tar.gz")
    (place.dist / ARTIFACT).rename(place.dist / NEW_ARTIFACT)
    for command in (lambda: place.moves(tag="v2.0.0"), lambda: place.moves(f"{ARTIFACT}=v2.0.0")):
        assert command() == {ARTIFACT: NEW_ARTIFACT}
    assert place.moves(tag="v2.0.0", yes=True) == {ARTIFACT: NEW_ARTIFACT}
    assert read_checksums(place.dist) == {NEW_ARTIFACT: digest, f"lora-{RUN}-v1.0.0.tar.gz": kept}
    assert place.moves(tag="v2.0.0", yes=True) == {}


def test_one_of_two_repos_moved(place: Workplace) -> None:
    """What one move was made of is not made again; the other is made by the same command."""
    place.repos(REPO, OTHER_REPO)
    mapped = (f"{REPO}=v2.0.0", f"{OTHER_REPO}={NEW_OTHER_REPO}")
    with place.api() as api:
        api.move_repo(f"acme/{REPO}", f"acme/{NEW_REPO}")
    assert place.moves(*mapped, yes=True) == {OTHER_REPO: NEW_OTHER_REPO}
    assert place.listed() == {NEW_REPO, NEW_OTHER_REPO}
    assert place.moves(*mapped, yes=True) == {}


def test_hub_refuses_one_move(place: Workplace) -> None:
    """A refused move ends with the Hub's words; what was moved stays so, and the same command goes on."""
    place.archive(ARTIFACT)
    place.repos(OTHER_REPO, REPO)
    stuck = place.hub / f"repos/acme/{NEW_REPO}.git"  # taken, and in no list
    (stuck / "held").mkdir(parents=True)
    with pytest.raises(ToolError, match=f"the Hub refused to move acme/{REPO} to acme/{NEW_REPO}: .*409"):
        place.migrate(tag="v2.0.0", yes=True)
    assert place.archives() == {NEW_ARTIFACT} and place.listed() == {REPO, NEW_OTHER_REPO}
    (stuck / "held").rmdir()
    assert place.moves(tag="v2.0.0", yes=True) == {REPO: NEW_REPO}


def test_checksum_of_an_archive_that_is_gone(place: Workplace) -> None:
    """A line without an archive, old or new, is nothing to move."""
    place.archive(ARTIFACT)
    (place.dist / ARTIFACT).unlink()
    assert place.migrate(tag="v2.0.0", yes=True)["moves"] == []


def test_archive_without_a_checksum(place: Workplace) -> None:
    """An archive that SHA256SUMS does not have is moved, and gets no line."""
    place.dist.mkdir()
    (place.dist / ARTIFACT).touch()
    assert place.moves(tag="v2.0.0", yes=True) == {ARTIFACT: NEW_ARTIFACT}
    assert place.archives() == {NEW_ARTIFACT} and not (place.dist / SUMS_FILE).exists()


# Mistakes


@pytest.mark.parametrize(
    ("mapped", "message"),
    [
        ("vllm", "--map must be OLD=NEW, not 'vllm'"),
        ("=v1.0.0", "--map must be OLD=NEW"),
        (f"{REPO}=", "--map must be OLD=NEW"),
        ("typo-20250915=new", "there is no artifact and no repo 'typo-20250915' to become 'new'"),
        ("phi3-avro-vllm-20250916=v2.0.0", "there is no artifact and no repo 'phi3-avro-vllm-20250916'"),
        ("typo=v2.0.0", "there is no artifact and no repo 'typo'"),
        ("my-model=v2.0.0", "my-model is no date-based name of a pattern"),
        (f"{REPO}=other/{NEW_REPO}", "other/phi3-avro-vllm-v2.0.0 is of another namespace than acme"),
        (f"{REPO}=a--b", "the Hub would refuse the repo 'a--b'"),
        (f"{REPO}=модель", "the Hub would refuse the repo 'модель'"),
        (f"{REPO}={REPO}", "which is there already"),
    ],
)
def test_mistakes_in_a_mapping(place: Workplace, mapped: str, message: str) -> None:
    """A mapping that can't be is an error before anything is moved."""
    place.repos(REPO, "my-model")
    with pytest.raises(UsageError, match=message):
        place.migrate(mapped, tag="v2.0.0", yes=True)
    assert place.listed() == {REPO, "my-model"}


def test_tag_that_is_no_version(place: Workplace) -> None:
    """--tag must be a version tag, which need not be there."""
    with pytest.raises(UsageError, match="'nightly' is no version tag"):
        place.migrate(tag="nightly")


# Hubs that ask for a token, or do not answer


def test_token(place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that may not write is refused before the first move, also of archives."""
    place.archive(ARTIFACT)
    tokens = {"hf_reader": Role.READ, "hf_writer": Role.WRITE}
    with EmbeddedHub(root=tmp_path / "strict", tokens=tokens) as hub:
        HfApi(endpoint=hub.url, token="hf_writer").create_repo(f"acme/{REPO}", private=True)
        for token, refusal in (("hf_reader", "cannot write"), ("hf_wrong", "does not know|refused")):
            monkeypatch.setenv("HF_TOKEN", token)
            with pytest.raises(ReleaseError, match=refusal):
                place.migrate(tag="v2.0.0", yes=True, hub=hub.url)
        assert place.archives() == {ARTIFACT}
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        assert place.moves(tag="v2.0.0", yes=True, hub=hub.url) == {ARTIFACT: NEW_ARTIFACT, REPO: NEW_REPO}


def test_hub_that_does_not_answer(place: Workplace) -> None:
    """A Hub that can't be reached ends the migration before anything is renamed."""
    place.archive(ARTIFACT)
    with pytest.raises(ToolError, match="could not be reached to list the models of acme"):
        place.migrate(tag="v2.0.0", yes=True, hub="http://127.0.0.1:9")
    assert place.archives() == {ARTIFACT}


def test_one_repo_for_a_model(place: Workplace) -> None:
    """Where versions are tags of one repo, no repo gets a version: archives do, and a repo moves by its whole name."""
    place.policy('[hub]\nlayout = "repo-per-model"\n')
    place.archive(ARTIFACT)
    place.repos(DATED_REPO, OTHER_REPO)
    for mapped in ((), (f"{DATED_REPO}=v2.0.0",)):
        planned = place.migrate(*mapped, f"{OTHER_REPO}=phi3-avro-lora-old", tag="v2.0.0")
        assert {move["old"]: move["new"] for move in planned["moves"]} == {
            ARTIFACT: NEW_ARTIFACT,
            OTHER_REPO: "phi3-avro-lora-old",
        }
        assert "versions are tags of one repo" in str(planned)
