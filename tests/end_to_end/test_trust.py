"""Releases that anyone can check: signed as a user does it, and looked at by the programs that others have."""

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import HfApi, snapshot_download
from msgspec import Struct
from tagship.hub_server.app import EmbeddedHub, Role

from tests.end_to_end.conftest import Finished, Project
from tests.signing import model_signing_verify, write_pair

SEALS = {"provenance.intoto.json", "model.sig"}
POLICY = '\n[sign]\nkey = "env:SIGNING_KEY"\npublic_key = "signing.pub"\n\n[publish]\nsbom = true\n'
MakeProject = Callable[[], Project]


class Signed(Struct, frozen=True, dict=True):
    """A project whose policy signs, and the path of its key, which is none of its files."""

    project: Project
    key: Path

    @property
    def public(self) -> Path:
        return self.project.folder / "signing.pub"

    def invoke(self, *arguments: str, **environment: str) -> Finished:
        return self.project.invoke(*arguments, SIGNING_KEY=str(self.key), **environment)


def signing(project: Project, folder: Path) -> Signed:
    """A project that signs, tagged; its key is in a folder."""
    private, public = write_pair(folder)
    public.rename(project.folder / "signing.pub")
    policy = project.folder / "release.toml"
    policy.write_text(policy.read_text() + POLICY)
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=feat: sign releases")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    return Signed(project, private)


@pytest.fixture(scope="module")
def released(make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A release of merged weights and the adapter."""
    signed = signing(make_project(), tmp_path_factory.mktemp("key"))
    done = signed.invoke("release", "--tag", "v1.0.0", "--quick", "--format", "vllm", "--format", "lora")
    assert done.code == 0, done.stderr
    return signed


@pytest.fixture
def downloaded(released: Signed, tmp_path: Path) -> Iterator[list[Path]]:
    """What others get who download the release."""
    with EmbeddedHub(root=released.project.folder / ".tagship/hub") as hub:
        yield [
            Path(snapshot_download(repo, revision="v1.0.0", local_dir=tmp_path / repo, endpoint=hub.url, token=False))
            for repo in ("acme/phi3avro-minimal-vllm-v1.0.0", "acme/phi3avro-minimal-lora-v1.0.0")
        ]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".gitattributes", ".cache"}


def test_checked_by_others(released: Signed, downloaded: list[Path]) -> None:
    """The program that anybody has verifies a download, and refuses it when a byte is flipped; the bill is valid, the
    provenance is of all files but itself and the signature, and the card says how to look."""
    for folder in downloaded:
        done = model_signing_verify(folder, released.public)
        assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr
        bill = (folder / "sbom.cdx.json").read_text()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
        subjects = json.loads((folder / "provenance.intoto.json").read_text())["subject"]
        assert {each["name"] for each in subjects} == names_in(folder) - SEALS
        card = (folder / "README.md").read_text()
        assert f"hf download acme/{folder.name} --revision v1.0.0 --local-dir model\n" in card
        assert "model_signing verify key model --signature model/model.sig --public_key signing.pub\n" in card
        weights = next(folder.glob("*.safetensors"))
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        assert weights.name in model_signing_verify(folder, released.public).stderr


def test_archives_hold_the_same(released: Signed, tmp_path: Path) -> None:
    """An unpacked archive is verified as a download is."""
    for archive in (released.project.folder / "dist").glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
    folders = list(tmp_path.iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert model_signing_verify(folder, released.public).returncode == 0


def test_the_key_is_nowhere(released: Signed) -> None:
    """No file of the project has the key: no export, no archive's manifest, nothing that is remembered."""
    line = released.key.read_text().splitlines()[1].encode()
    files = [path for path in released.project.folder.rglob("*") if path.is_file()]
    assert len(files) > 20 and not [path for path in files if line in path.read_bytes()]


@pytest.mark.long
def test_again(released: Signed) -> None:
    """The same command makes no new commit, and what was released is audited with the public key alone."""
    arguments = ("release", "--tag", "v1.0.0", "--quick", "--format", "lora", "--json")
    one, other = (released.invoke(*arguments) for _ in range(2))
    assert one.code == 0 and other.code == 0, other.stderr
    assert one.document["formats"][0]["commit"] == other.document["formats"][0]["commit"]
    audited = released.project.invoke("audit", "--json")
    assert audited.code == 0, audited.stderr
    found = [finding for each in audited.document["releases"] for finding in each["findings"]]
    assert [each["level"] for each in found if each["about"] == "signature"] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("key", "old", "new", "told"),
    [
        ("", "", "", "the variable SIGNING_KEY is not set"),
        ("no/such.pem", "", "", "holds neither a private key in PEM nor the path"),
        (None, 'public_key = "signing.pub"', 'public_key = "other.pub"', "are not of one pair"),
        (None, 'key = "env:SIGNING_KEY"', "keyless = true", "signs by the identity of a job of CI, and this is none"),
    ],
)
def test_refused_before_anything_is_exported(
    make_project: MakeProject, tmp_path: Path, key: str | None, old: str, new: str, told: str
) -> None:
    """Without a key that can sign, nothing is exported."""
    signed = signing(make_project(), tmp_path)
    (tmp_path / "other").mkdir()
    write_pair(tmp_path / "other")[1].rename(signed.project.folder / "other.pub")
    signed.project.replace("release.toml", old, new)
    key = str(signed.key) if key is None else key
    done = signed.project.invoke("release", "--untagged", "--hub", "http://127.0.0.1:9", SIGNING_KEY=key)
    assert done.code == 1 and told in done.stderr and "remedy" in done.stderr
    assert not (signed.project.folder / "exports").exists()


@pytest.mark.long
def test_signed_where_it_is_gathered(make_project: MakeProject, tmp_path: Path) -> None:
    """Units need no key. Who gathers signs by digests what is on the Hub already, and what several exports share."""
    project = make_project()
    project.replace("release.toml", 'quants = ["q4_k_m"]', 'quants = ["q4_k_m", "q8_0"]\ntogether = true')
    signed = signing(project, tmp_path)
    repo = "acme/phi3avro-minimal-gguf-v1.0.0"
    with EmbeddedHub(root=tmp_path / "hub", namespace="acme", tokens={"hf_writer": Role.WRITE}) as hub:
        api = HfApi(endpoint=hub.url, token="hf_writer")
        plan = project.invoke("plan", "--json", "--tag", "v1.0.0", "--hub", hub.url, "--format", "ollama", "--quick")
        (project.folder / "plan.json").write_text(plan.stdout)
        for index in "01":
            work = project.invoke("work", "--plan", "plan.json", "--index", index, "--to-hub", HF_TOKEN="hf_writer")
            assert work.code == 0, work.stderr
        refused = project.invoke("gather", "--plan", "plan.json", HF_TOKEN="hf_writer")
        assert refused.code == 1 and "SIGNING_KEY is not set" in refused.stderr
        done = signed.invoke("gather", "--plan", "plan.json", HF_TOKEN="hf_writer")
        assert done.code == 0, done.stderr
        place = {"revision": "v1.0.0", "local_dir": tmp_path / "it", "endpoint": hub.url, "token": "hf_writer"}
        folder = Path(snapshot_download(repo, **place))
        assert len(list(folder.glob("*.gguf"))) == 2 and names_in(folder) >= SEALS | {"sbom.cdx.json"}
        verified = model_signing_verify(folder, signed.public)
        assert verified.returncode == 0, verified.stderr
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str((folder / "sbom.cdx.json").read_text()) is None
        audited = project.invoke("audit", "--repo", repo, "--hub", hub.url, "--json", HF_TOKEN="hf_writer")
        assert audited.code == 0, audited.stderr
        assert len(api.list_repo_commits(repo)) == 2
