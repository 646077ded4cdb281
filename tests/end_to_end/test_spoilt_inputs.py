"""What a release is made from, changed behind its back: kept exports, bases and adapters."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi
from safetensors.numpy import load_file, save_file
from tagship.hub_server.app import EmbeddedHub

from tests.end_to_end.conftest import NEWEST_RUN, Project
from tests.end_to_end.spoiling import flip

BASE = "examples/avro/base"
ADAPTER = f"examples/avro/adapters/{NEWEST_RUN}/adapter_model.safetensors"
TINY = "acme/phi3avro"
TAGGED = ("--tag", "v1.0.0", "--format", "vllm")


@pytest.fixture
def tagged(project: Project) -> Project:
    """The example at a version, so that its names are the same each time; its base's weights are not in git."""
    with (project.folder / ".gitignore").open("a") as ignored:
        ignored.write(f"\n{BASE}/*.safetensors\n")
    project.git("rm", "--cached", "--quiet", "--", f"{BASE}/*.safetensors")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=chore: leave the base's weights out")
    project.git("tag", "v1.0.0", "--message=Release v1.0.0")
    return project


def shard(folder: Path) -> Path:
    return sorted(folder.glob("*.safetensors"))[0]


def test_flipped_bit_in_a_kept_export(tagged: Project) -> None:
    """It is refused by the file's name, before its archive takes the place of the good one, and made anew by the next
    export."""
    assert tagged.invoke("export", *TAGGED).code == 0
    assert tagged.invoke("package", *TAGGED).code == 0
    (archive,) = (tagged.folder / "dist").glob("*.tar.gz")
    good = archive.read_bytes()
    (export,) = (path for path in (tagged.folder / "exports").iterdir() if path.is_dir())
    spoilt = shard(export)
    whole = spoilt.read_bytes()
    flip(spoilt, -1)
    refused = tagged.invoke("package", *TAGGED)
    assert refused.code == 1 and f"{spoilt.name} was changed" in refused.stderr
    assert archive.read_bytes() == good
    again = tagged.invoke("export", *TAGGED)
    assert again.code == 0 and f"{spoilt.name} was changed" in again.stderr and "made anew" in again.stderr
    assert spoilt.read_bytes() == whole


def test_changed_base_under_an_old_name(tagged: Project) -> None:
    """A base with other weights makes a new version, and is not released under the name of the one on the Hub: the
    merged model would have its weights, and the adapter name the other."""
    assert tagged.invoke("export", *TAGGED).code == 0
    same = tagged.invoke("bump")
    assert same.code == 1 and "asks for a new version" in same.stderr
    with EmbeddedHub(root=tagged.folder / ".tagship/hub") as hub:
        api = HfApi(endpoint=hub.url, token=False)
        api.create_repo(TINY)
        api.upload_folder(repo_id=TINY, folder_path=tagged.folder / BASE)
    flip(shard(tagged.folder / BASE), -1)
    changed = tagged.invoke("bump", "--json")
    assert changed.code == 0 and changed.document["part"] == "major", changed.stderr
    for form in ("vllm", "lora"):
        refused = tagged.invoke("export", "--tag", "v1.0.0", "--format", form)
        assert refused.code == 1 and f"{TINY} on the Hub is not the one in" in refused.stderr
        assert shard(tagged.folder / BASE).name in refused.stderr


@pytest.mark.parametrize("task", [("release", "--format", "lora"), ("doctor",)])
def test_template_that_does_not_render(project: Project, task: tuple[str, ...]) -> None:
    """A model that cannot be run is told before anything is exported, and by the doctor, who says all of it."""
    template = project.folder / BASE / "chat_template.jinja"
    assert template.is_file()
    template.write_text("{{ raise_exception('not today') }}")
    done = project.invoke(*task)
    told = "the tokenizer or chat template of base + adapter cannot be used: not today"
    assert done.code == 1 and told in done.stdout + done.stderr
    assert not (project.folder / "exports").exists()


@pytest.mark.parametrize("task", [("export", "--format", "lora"), ("release", "--format", "lora"), ("doctor",)])
def test_adapter_that_does_nothing(project: Project, task: tuple[str, ...]) -> None:
    """An adapter whose lora_B is zero makes nothing, also where its files would only be copied."""
    path = project.folder / ADAPTER
    save_file({name: held * (0 if "lora_B" in name else 1) for name, held in load_file(path).items()}, path)
    done = project.invoke(*task)
    assert done.code == 1 and "every lora_B is all zero" in done.stdout + done.stderr
    assert not (project.folder / "exports").exists()
