"""The ollama format: what is refused before anything is exported, and what becomes of an export that ends."""

import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace
from tagship.formats.differences import NotAsExported
from tagship.formats.ollama.format import FORMAT
from tagship.formats.ollama.settings import OllamaSettings
from tagship.formats.protocol import ExportJob
from tagship.gguf.header import read_gguf_header
from tagship.gguf.tensor_choices import TensorChoice
from tagship.system.errors import Killed, ReleaseError, ToolError
from tagship.system.files import sha256_of
from tagship.verify.questions import Questions

from tests import tiny
from tests.formats import jobs

pytest.importorskip("conversion")
pytest.importorskip("xllamacpp")

pytestmark = pytest.mark.slow
SETTINGS = OllamaSettings(quants=("q8_0",), template=None, imatrix=None)


def job_of(folder: Path, model: Callable[[Path], Path]) -> ExportJob:
    """A model with a tokenizer, and an adapter of it."""
    base = tiny.tokenizer(model(folder / "base"))
    run = tiny.adapter(base, folder / "run")
    return jobs.job_of(base, run, variant=FORMAT.variants(SETTINGS, ())[0], settings=SETTINGS)


def gpt2(folder: Path) -> Path:
    """A GPT-2: how its tokenizer splits text has to be known to llama.cpp."""
    tiny.gpt2(folder)
    tiny.edit_json(folder / "config.json", n_ctx=128)
    return folder


def test_architecture_is_asked_of_before(tmp_path: Path) -> None:
    """What an export will need is not said of a model that llama.cpp does not have."""
    job = job_of(tmp_path, tiny.phi3)
    assert FORMAT.footprint(job).disk
    tiny.edit_json(job.base.path / "config.json", architectures=["NoSuchForCausalLM"])
    with pytest.raises(ReleaseError, match="converter does not have NoSuchForCausalLM"):
        FORMAT.footprint(job)


def test_what_can_be_converted(tmp_path: Path) -> None:
    """A model that llama.cpp takes passes, and nothing is written."""
    job = job_of(tmp_path, tiny.phi3)
    before = sorted(tmp_path.rglob("*"))
    FORMAT.examine([job])
    assert sorted(tmp_path.rglob("*")) == before


def test_types_that_are_chosen(tmp_path: Path) -> None:
    """Types of tensors are in the file and in what it is checked by; one that fits no tensor, or needs an importance
    matrix that is not there, is refused before anything is exported."""
    job = job_of(tmp_path, tiny.phi3)

    def choosing(quant: str | None, pattern: str, kind: str) -> ExportJob:
        return replace(job, settings=replace(SETTINGS, tensors=((quant, TensorChoice(pattern, kind)),)))

    with pytest.raises(ReleaseError, match="'attn_x' fits no tensor of this model") as caught:
        FORMAT.examine([choosing(None, "attn_x", "Q4_0")])
    assert "blk.0.attn_" in str(caught.value.remedy)
    with pytest.raises(ReleaseError, match=r"token_types' fits no tensor"):
        FORMAT.examine([choosing("q8_0", "token_types", "Q4_0")])
    FORMAT.examine([choosing("q4_0", "attn_x", "Q4_0")])  # of another type's files
    folder = tmp_path / "export"
    folder.mkdir()
    with pytest.raises(ReleaseError, match="'attn_x' fits no tensor of this model"):
        FORMAT.export([(choosing(None, "attn_x", "Q4_0"), folder)], lambda _: None)
    assert not list(folder.iterdir())
    chosen = choosing(None, r"blk\.0\.attn_output", "Q4_0")
    digests = FORMAT.export([(chosen, folder)], lambda _: None)
    assert digests == {file: sha256_of(file) for file in folder.glob("*.gguf")}
    types = {held.name: held.type_name for held in read_gguf_header(folder / "title-Q8_0.gguf").tensors}
    assert (types["blk.0.attn_output.weight"], types["blk.1.attn_output.weight"]) == ("Q4_0", "Q8_0")
    questions = Questions(prompts=("the quick",), max_tokens=8)
    assert FORMAT.subject(chosen, folder, questions)
    with pytest.raises(NotAsExported, match=r"blk\.0\.attn_output\.weight is Q4_0 and not Q8_0"):
        FORMAT.subject(job, folder, questions)


def test_tokenizer_that_is_not_known(tmp_path: Path) -> None:
    """It is told before anything is exported, and whether it is the run's doing."""
    job = job_of(tmp_path, gpt2)
    with pytest.raises(ToolError, match="does not know how the tokenizer splits text") as caught:
        FORMAT.examine([job])
    assert str(caught.value.remedy).startswith("point LLAMA_CPP_DIR")
    own = job.run.path / "tokenizer.json"
    own.write_text((job.base.path / "tokenizer.json").read_text() + "\n")
    with pytest.raises(ToolError) as caught:
        FORMAT.examine([job])
    assert str(caught.value.remedy).startswith(f"{own} is not the base's")


def test_template_that_does_not_render(tmp_path: Path) -> None:
    """A chat template that makes no prompt of a question is told before anything is exported."""
    job = job_of(tmp_path, tiny.phi3)
    (job.base.path / "chat_template.jinja").write_text("{{ raise_exception('not today') }}")
    with pytest.raises(ReleaseError, match="template"):
        FORMAT.examine([job])


def test_template_that_makes_no_text(tmp_path: Path) -> None:
    """What a chat template makes of tools need be nothing that UTF-8 knows: it is held against what llama.cpp makes."""
    job = job_of(tmp_path, tiny.phi3)
    odd = '{% if tools %}{{ "\\ud800" }}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}'
    (job.base.path / "chat_template.jinja").write_text(odd)
    (tmp_path / "export").mkdir()
    FORMAT.export([(job, tmp_path / "export")], lambda _: None)
    subject = FORMAT.subject(job, tmp_path / "export", Questions(prompts=("the quick",), max_tokens=8))
    assert subject.rendered == ("the quick",)
    assert any(prompt.text and prompt.text.startswith("\ud800") for prompt in subject.prompts)


def test_export_that_is_killed(tmp_path: Path) -> None:
    """An export whose process is killed in the midst of its work says so; the one that asked goes on, and the next
    export has another process."""
    job = job_of(tmp_path, tiny.phi3)
    (tmp_path / "export").mkdir()

    killed: list[psutil.Process] = []

    def kill(_: int) -> None:
        if not killed:
            killed.extend(child for child in psutil.Process().children() if "transformers" in child.cmdline())
            killed[0].kill()

    with pytest.raises(Killed, match=r"the ollama export ended \(killed by signal 9\)"):
        FORMAT.export([(job, tmp_path / "export")], kill)
    assert list((tmp_path / "export").glob("[!.]*")) == []
    FORMAT.examine([job])


def test_disk_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is not there is told as what it is."""
    job = job_of(tmp_path, tiny.phi3)
    with pytest.raises(ReleaseError, match=r"the ollama export could not be written: .*No such file"):
        FORMAT.export([(job, tmp_path / "none")], lambda _: None)


def test_export_counts_its_work(tmp_path: Path) -> None:
    """The bytes of all matrices are counted, in the process that asked for the export."""
    job = job_of(tmp_path, tiny.phi3)
    (tmp_path / "export").mkdir()
    counted: list[int] = []
    FORMAT.export([(job, tmp_path / "export")], counted.append)
    assert len(counted) > 1
    assert 0.5 < sum(counted) / (tmp_path / "export/title-Q8_0.gguf").stat().st_size < 1
    assert json.loads((tmp_path / "export/params").read_text())["stop"]


@pytest.mark.parametrize(
    ("base", "name"), [("org/phi-3", "title (phi-3)"), ("org/mine", "title (mine), of the phi-3 family")]
)
def test_white_space_after_special_tokens(tmp_path: Path, base: str, name: str) -> None:
    """A tokenizer whose special tokens swallow the white space after them does so in llama.cpp, too, whatever somebody
    calls the base: llama.cpp goes by the model's name."""
    from tagship.verify.runtimes.llama_api import LlamaModel
    from transformers import AutoTokenizer

    job = job_of(tmp_path, tiny.phi3)
    job = replace(job, base=replace(job.base, id=base))
    (tmp_path / "export").mkdir()
    FORMAT.export([(job, tmp_path / "export")], lambda done: None)
    (path,) = (tmp_path / "export").glob("*.gguf")
    assert read_gguf_header(path).text("general.name") == name
    text = f"{tiny.ROLES[0]}\n the quick{tiny.END_OF_TURN}\nbrown fox"
    expected = AutoTokenizer.from_pretrained(job.base.path)(text, add_special_tokens=False)["input_ids"]
    with LlamaModel(path, context=64) as model:
        assert model.tokens(text) == expected
