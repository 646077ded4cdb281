"""Mixes of types that are found for a model, from release.toml to the Hub, and made again from what is there."""

import json
from collections.abc import Callable

import pytest
from tagship.formats.ollama.mix_search import NEARER
from tagship.gguf.header import read_gguf_header

from tests.end_to_end.conftest import NEWEST_RUN, Project

pytestmark = pytest.mark.long
MIXES = """[export]
imatrix = "make"

[formats.ollama]
quants = ["q4_k_m"]

[formats.ollama.mixes]
small = { bpw = 4.6 }
close = { kl = 0.03 }
"""


@pytest.fixture(scope="module")
def project(make_project: Callable[[], Project]) -> Project:
    project = make_project()
    text = (project.folder / "release.toml").read_text()
    start, end = text.index("[formats.vllm]"), text.index("[verify]")
    project.replace("release.toml", text[start:end], f"{MIXES}\n")
    project.git("commit", "--quiet", "--all", "--message=feat: mixes")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    return project


def test_mixes_are_released_and_made_again(project: Project) -> None:
    """Mixes are exports beside a type: within the bits or the divergence that were asked for, verified by that, told on
    the card and its plot; `reproduce` makes one from release.json without a search, and the same command finds what was
    measured where it is."""
    planned = project.invoke("plan", "--json")
    assert [each.get("aim") for each in planned.document["formats"]] == [
        None,
        "4.6 bits for each weight",
        "0.03 nats at most",
    ]
    done = project.invoke("release", "--json")
    assert done.code == 0, done.stderr
    assert "errors of tensors, mix close, where it was not made before" in done.stderr
    assert "[formats.ollama.tensors." in done.stderr
    manifests = {}
    for path in (project.folder / "exports").glob("*/release.json"):
        manifest = json.loads(path.read_text())
        manifests[manifest["quant"]] = (path.parent, manifest)
    folder, small = manifests["small"]
    (gguf,) = folder.glob("*-SMALL.gguf")
    tensors = read_gguf_header(gguf).tensors
    assert 8 * sum(each.nbytes for each in tensors) / sum(each.elements for each in tensors) <= 4.6
    assert small["mix"]["aim"] == {"bpw": 4.6} and small["mix"]["measured"] is None
    _, close = manifests["close"]
    assert close["mix"]["measured"] <= 0.03 and close["evidence"]["text"]["kl"] <= 0.03
    assert close["evidence"]["limits"]["kl"] == 0.03
    assert all(
        each["measured"] > NEARER * 0.03 for each in close["mix"]["tried"] if each["bits"] < close["mix"]["bits"]
    )
    assert manifests["q4_k_m"][1]["mix"] is None
    card = (folder / "README.md").read_text()
    assert "at most 4.6 bits for each weight were asked for" in card
    assert f":{gguf.name}\n" in card
    assert "polyline" in (folder / "quality.svg").read_text()
    assert "made before, of the same" in project.invoke("export").stderr

    made = project.invoke("reproduce", "--repo", close["repo_id"], "--json")
    assert made.code == 0, made.stderr
    assert made.document["ok"] and "errors of tensors" not in made.stderr
    matrix = project.invoke("imatrix", "--run", NEWEST_RUN, "--json").document["imatrix"]
    assert [name.rpartition("/")[2] for name in matrix] == ["imatrix.gguf"]


def test_what_no_mix_has(project: Project) -> None:
    """Bits that no mix of the model has are refused with what there is, and a mix without an importance matrix before
    anything is measured."""
    project.replace("release.toml", "bpw = 4.6", "bpw = 1.2")
    said = project.invoke("export", "--quant", "small", "--untagged")
    assert said.code == 1
    assert "[formats.ollama.mixes.small] bpw = 1.2: the mixes of this model have from 2.1" in said.stderr
    project.replace("release.toml", 'imatrix = "make"\n', "")
    said = project.invoke("export", "--quant", "small", "--untagged")
    assert said.code == 1
    assert "[formats.ollama.mixes.small] is found by an importance matrix, and there is none" in said.stderr
