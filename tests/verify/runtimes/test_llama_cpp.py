"""llama.cpp's prompts of conversations: by the GGUF's own template, without reading its weights."""

from pathlib import Path

import pytest
from tagship.gguf.conversion import GgufMetadata, write_ggufs
from tagship.system.errors import ReleaseError
from tagship.verify.conversations import QUESTION, TOOLS_GIVEN
from tagship.verify.runtimes import llama_cpp
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights

from tests import tiny

pytest.importorskip("xllamacpp")
pytest.importorskip("conversion")
pytest.importorskip("torch")

pytestmark = pytest.mark.slow

METADATA = GgufMetadata(general={"general.name": "tiny phi3"}, license="mit", add_bos=False)
TALKS = (QUESTION, TOOLS_GIVEN)
PROMPTS = ("<|user|>\nWhat is it?\nTell me.<|end|>\n<|assistant|>\n",) * 2


@pytest.fixture(scope="module")
def ggufs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One whose template llama.cpp reads, and one whose it does not."""
    folder = tmp_path_factory.mktemp("llama")
    base = tiny.phi3(folder / "base")
    tiny.tokenizer(base)
    weights = MergedWeights(open_checkpoint(base), read_adapter(tiny.adapter(base, folder / "adapter")))
    write_ggufs(weights, base, {"f16": folder / "read.gguf"}, METADATA, lambda _: None)
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'].swapcase() }}")
    write_ggufs(weights, base, {"f16": folder / "unread.gguf"}, METADATA, lambda _: None)
    return {path.stem: path for path in folder.glob("*.gguf")}


def served(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the models that servers are started for from now on."""
    sizes: list[int] = []
    original = llama_cpp._Server.__init__

    def started(server: llama_cpp._Server, model: Path, context: int, *, own_template: bool) -> None:
        sizes.append(model.stat().st_size)
        original(server, model, context, own_template=own_template)

    monkeypatch.setattr(llama_cpp._Server, "__init__", started)
    return sizes


@pytest.mark.parametrize("damage", [None, b"GGUF"], ids=str)
def test_weights_are_not_loaded(ggufs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, damage: bytes | None) -> None:
    """One layer of zeros has the template; where llama.cpp does not load that, the GGUF is served itself."""
    sizes, whole = served(monkeypatch), ggufs["read"]
    if damage is not None:
        monkeypatch.setattr(llama_cpp, "write_first_layer", lambda model, to: bool(to.write_bytes(damage)))
    assert llama_cpp.RUNTIME.prompts(Subject(what="it", model=whole), TALKS) == PROMPTS
    assert len(sizes) == (1 if damage is None else 2)
    assert (sizes[0] < whole.stat().st_size) and (damage is None or sizes[1] == whole.stat().st_size)


def test_template_that_is_not_read(ggufs: dict[str, Path]) -> None:
    """The GGUF answers, but would not be served."""
    with pytest.raises(ReleaseError, match=r"llama\.cpp cannot read the chat template in it, and so"):
        llama_cpp.RUNTIME.prompts(Subject(what="it", model=ggufs["unread"]), TALKS)
