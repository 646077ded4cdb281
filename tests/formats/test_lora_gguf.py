"""The lora-gguf format: what is refused before anything is exported, what an export has, and what of it is noticed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tagship.formats.differences import NotAsExported
from tagship.formats.lora_gguf.format import FORMAT, LoraGgufSettings
from tagship.formats.protocol import NF4, ExportJob, ExportPolicy
from tagship.gguf.labels import label_in, unread_label_in
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.toml_reader import Reader
from tagship.verify.questions import Questions

from tests import tiny
from tests.formats import jobs

pytest.importorskip("conversion")
pytest.importorskip("xllamacpp")

pytestmark = pytest.mark.slow
SETTINGS = LoraGgufSettings(quants=("f16", "q8_0"), base_gguf=None)
QUESTIONS = Questions(prompts=("the quick", "dogs"), max_tokens=8)


def job_of(folder: Path, model: Callable[..., Path] = tiny.phi3, **lora: Any) -> ExportJob:
    """A model with a tokenizer, and an adapter of it."""
    base = folder / "base"
    if not base.exists():
        tiny.tokenizer(model(base))
    run = tiny.adapter(base, folder / "run", **lora)
    variant = FORMAT.variants(SETTINGS, ())[0]
    return jobs.job_of(base, run, variant=variant, settings=SETTINGS, relation="adapter")


def exported(job: ExportJob, folder: Path) -> Path:
    folder.mkdir()
    FORMAT.export([(job, folder)], lambda _: None)
    return folder


@pytest.mark.parametrize(
    ("lora", "problem"),
    [
        ({"use_dora": True}, "it is DoRA"),
        ({"modules_to_save": ["lm_head"]}, r"lm_head\.weight is saved whole \(modules_to_save\)"),
        ({"target_modules": ["embed_tokens", "o_proj"]}, r"model\.embed_tokens\.weight is an embedding"),
        ({"trainable_token_indices": [5, 7]}, r"rows of model\.embed_tokens\.weight were trained"),
    ],
)
def test_what_llama_cpp_does_not_apply(tmp_path: Path, lora: dict[str, Any], problem: str) -> None:
    """What is more than changes of low rank is refused by name before anything is exported, with what holds it."""
    with pytest.raises(ReleaseError, match=f"does not apply all of the adapter of run beside.*{problem}") as caught:
        FORMAT.footprint(job_of(tmp_path, **lora))
    assert "release merged weights instead" in str(caught.value.remedy)


def test_trained_biases(tmp_path: Path) -> None:
    """Biases that were trained are no matrices."""

    def biased(folder: Path) -> Path:
        from transformers import Qwen2Config, Qwen2ForCausalLM

        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}
        config = Qwen2Config(vocab_size=tiny.VOCABULARY, num_key_value_heads=2, tie_word_embeddings=False, **sizes)
        return tiny._save(Qwen2ForCausalLM, config, folder, tiny.BFLOAT16)

    with pytest.raises(ReleaseError, match=r"q_proj\.bias is a trained bias"):
        FORMAT.footprint(job_of(tmp_path, biased, bias="lora_only"))


def test_head_that_is_tied(tmp_path: Path) -> None:
    """A GGUF of a base whose head is its embedding has none that an adapter could change."""

    def tied(folder: Path) -> Path:
        from transformers import LlamaConfig, LlamaForCausalLM

        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}
        config = LlamaConfig(vocab_size=tiny.VOCABULARY, tie_word_embeddings=True, **sizes)
        return tiny._save(LlamaForCausalLM, config, folder, tiny.BFLOAT16)

    with pytest.raises(ReleaseError, match=r"lm_head\.weight was trained, and the base's GGUF has none: it is tied to"):
        FORMAT.footprint(job_of(tmp_path, tied, target_modules=["lm_head", "o_proj"]))


def test_another_base_than_people_have(tmp_path: Path) -> None:
    """Tokens that were added, and a base in 4 bits, are in no GGUF of the base."""
    job = job_of(tmp_path)
    assert FORMAT.footprint(job).beside > 0
    with pytest.raises(ReleaseError, match=r'\[export\] base is "nf4"'):
        FORMAT.footprint(replace(job, policy=ExportPolicy(base=NF4)))
    own = job.run.path / "tokenizer.json"
    document = json.loads((job.base.path / "tokenizer.json").read_text())
    own.write_text(json.dumps(document))
    FORMAT.footprint(job)
    document["added_tokens"].append(document["added_tokens"][-1] | {"id": 300, "content": "<|mine|>"})
    own.write_text(json.dumps(document))
    with pytest.raises(ReleaseError, match="has other tokens than the base"):
        FORMAT.footprint(job)


def test_what_is_tried_before(tmp_path: Path) -> None:
    """Adapter and base are converted without their numbers before anything is exported, and nothing is written."""
    job = job_of(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    FORMAT.examine([job])
    assert sorted(tmp_path.rglob("*")) == before
    tiny.edit_json(job.base.path / "config.json", architectures=["GPT2LMHeadModel"])
    with pytest.raises(ToolError, match="converter cannot convert"):
        FORMAT.examine([job])


@pytest.mark.parametrize("title", ["title", "phi3-q4_k_m-r8", "x-F16"])
def test_no_name_reads_as_a_type(tmp_path: Path, title: str) -> None:
    """The Hub and Ollama find no quantization type of a model in any file's name, and two types have two names."""
    job = replace(job_of(tmp_path), title=title)
    names = set()
    for variant in FORMAT.variants(SETTINGS, FORMAT.quants):
        (path,) = exported(replace(job, variant=variant), tmp_path / variant.kind).glob("*.gguf")
        assert label_in(path.name) is None
        names.add(path.name)
    assert len(names) == len(FORMAT.quants)
    assert unread_label_in("title-LoRA-float16.gguf") is None


def test_files(tmp_path: Path) -> None:
    """The Modelfile names the base's GGUF on the Hub where the policy does, else one beside it."""
    job = job_of(tmp_path)
    folder = exported(job, tmp_path / "own")
    assert (folder / "Modelfile").read_text().splitlines()[-2:] == [
        "FROM ./phi-3.gguf",
        "ADAPTER ./title-LoRA-float16.gguf",
    ]
    job = replace(job, settings=replace(SETTINGS, base_gguf="org/phi-3-GGUF:Q4_K_M"))
    folder = exported(job, tmp_path / "hub")
    assert (folder / "Modelfile").read_text().startswith("FROM hf.co/org/phi-3-GGUF:Q4_K_M\nADAPTER ./")
    files = [path.name for path in folder.iterdir()]
    line = "llama-server --hf-repo org/phi-3-GGUF:Q4_K_M --lora title-LoRA-float16.gguf"
    assert FORMAT.use_line(job, files) == line
    assert [usage.title for usage in FORMAT.usages(job, files)][-1] == "Ollama"


def test_chat_template_of_its_own(tmp_path: Path) -> None:
    """A chat template that the base's GGUF does not have goes with the adapter for llama.cpp; Ollama cannot take it."""
    job = job_of(tmp_path)
    (job.run.path / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    folder = exported(job, tmp_path / "export")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["chat_template.jinja", "title-LoRA-float16.gguf"]
    assert FORMAT.use_line(job, files).endswith(" --jinja --chat-template-file chat_template.jinja")
    assert "Ollama" not in [usage.title for usage in FORMAT.usages(job, files)]
    assert FORMAT.subject(job, folder, QUESTIONS).rendered == ("the quick!", "dogs!")
    (folder / "Modelfile").write_text("FROM x\n")
    with pytest.raises(NotAsExported, match="Modelfile that nothing made"):
        FORMAT.subject(job, folder, QUESTIONS)


def test_damaged_exports(tmp_path: Path) -> None:
    """An export that says another scale, is of another type, or is no adapter's, is noticed before it is run."""
    job = job_of(tmp_path)
    folder = exported(job, tmp_path / "export")
    path = folder / "title-LoRA-float16.gguf"
    whole = path.read_bytes()
    FORMAT.subject(job, folder, QUESTIONS)
    for old, new, told in (
        (np.float32(8).tobytes(), np.float32(4).tobytes(), r"adapter\.lora\.alpha is 4\.0 and not 8\.0"),
        (b"adapter", b"adopted", r"general\.type is 'adopted' and not 'adapter'"),
    ):
        at = whole.index(old, whole.index(b"adapter.lora.alpha") if old != b"adapter" else 0)
        path.write_bytes(whole[:at] + new + whole[at + len(old) :])
        with pytest.raises(NotAsExported, match=told):
            FORMAT.subject(job, folder, QUESTIONS)
    path.unlink()
    with pytest.raises(NotAsExported, match=r"has no title-LoRA-float16\.gguf"):
        FORMAT.subject(job, folder, QUESTIONS)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"quants": ["q4_k_m"]}, "q4_k_m"),
        ({"quants": []}, "is empty"),
        ({"base_gguf": "https://huggingface.co/org/x"}, "is no repo on the Hub"),
        ({"base_gguf": "./base.gguf"}, "is no repo on the Hub"),
    ],
)
def test_settings(table: dict[str, Any], problem: str) -> None:
    """What the table of release.toml cannot say is told."""
    problems: list[str] = []
    FORMAT.configure(Reader(table, "formats.lora-gguf", problems), Reader({}, "export", problems))
    assert len(problems) == 1 and problem in problems[0]
