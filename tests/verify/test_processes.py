"""Models that are run in processes of their own: their answers, and what is told when they crash."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import psutil
import pytest
from msgspec.structs import replace
from tagship.gguf.conversion import GgufMetadata, write_ggufs
from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.comparison import Trial, compare
from tagship.verify.drafting import follow_answers
from tagship.verify.evidence import Evidence
from tagship.verify.measured_text import Passage
from tagship.verify.questions import Limits, Questions, Tokens
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.verify.runtimes.transformers import RUNTIME
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights
from tagship.weights.merge_writer import write_merged
from tagship.weights.safetensors import read_header

from tests import tiny

pytest.importorskip("torch")
pytest.importorskip("peft")

pytestmark = pytest.mark.slow

PROMPT = "the quick brown fox"
RENDERED = f"<|user|>\n{PROMPT}<|end|>\n<|assistant|>\n"
QUESTIONS = Questions(prompts=(PROMPT,), max_tokens=6)
PASSAGES = (
    Passage(kind="chat", messages=({"role": "user", "content": PROMPT}, {"role": "assistant", "content": "quick"})),
    Passage(kind="text", text="the quick brown fox"),
)
# llama.cpp drops whitespace after Phi-3's special tokens only where a model's name says that it is one.
METADATA = GgufMetadata(general={"general.name": "tiny phi3"}, license="mit", add_bos=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an adapter that changes its answers, and the two merged."""
    folder = tmp_path_factory.mktemp("runtime")
    base = tiny.phi3(folder / "base", layers=1, dtype=tiny.FLOAT32)
    tiny.tokenizer(base)
    tiny.adapter(base, folder / "adapter", size=0.3)
    shutil.copytree(base, folder / "merged", ignore=shutil.ignore_patterns("*.safetensors"))
    write_merged([(MergedWeights(open_checkpoint(base), read_adapter(folder / "adapter")), folder / "merged")])
    return folder


@pytest.fixture(scope="module")
def runtimes() -> Iterator[Runtimes]:
    """Shared by the tests below, as starting a runtime takes longer than any tiny model."""
    with Runtimes() as shared:
        yield shared


@pytest.fixture(scope="module")
def reference(models: Path, runtimes: Runtimes) -> Model:
    """What PEFT makes of base and adapter."""
    return runtimes.kept("transformers", adapted(models / "base", models / "adapter"))


@pytest.fixture(scope="module")
def trial(reference: Model) -> Trial:
    """What it answers by itself, and a text."""
    answers = follow_answers(reference, reference, QUESTIONS, QUESTIONS.max_tokens)
    text = tuple(Tokens(ids=tuple(ids), since=1) for ids in reference.spell(PASSAGES))
    return Trial(questions=QUESTIONS, answers=answers, text=text)


@pytest.fixture(scope="module")
def gguf(models: Path) -> Path:
    """Base and adapter as an f32 GGUF."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("conversion")
    weights = MergedWeights(open_checkpoint(models / "base"), read_adapter(models / "adapter"))
    write_ggufs(weights, models / "base", {"f32": models / "model.gguf"}, METADATA, lambda _: None)
    return models / "model.gguf"


def read_all(path: Path) -> dict[str, np.ndarray]:
    header = read_header(path)
    return {name: header.read(name).copy() for name in header.tensors}


def adapted(base: Path, adapter: Path) -> Subject:
    return Subject(what="base + adapter", model=base, adapter=adapter)


def gguf_of(path: Path, rendered: str) -> Subject:
    return Subject(what="the GGUF", model=path, rendered=(rendered,))


def held(
    runtimes: Runtimes, runtime: str, subject: Subject, reference: Model, trial: Trial, limits: Limits
) -> Evidence:
    with runtimes.model(runtime, subject) as model:
        return compare(reference, model, trial, limits, subject.what)


def test_answer(reference: Model, trial: Trial) -> None:
    """An answer has the rendered prompt, at most so many tokens, and is the greedy one."""
    (answer,) = trial.answers
    assert answer.asked.prompt == RENDERED
    assert 1 <= len(answer.ids) <= 6
    (rows,) = reference.rows([answer.tokens])
    assert rows.shape == (len(answer.ids), tiny.VOCABULARY)
    assert rows.argmax(axis=1).tolist() == list(answer.ids)


def test_text(reference: Model) -> None:
    """Conversations are spelled by the chat template, what is plain as it stands."""
    chat, plain = map(len, reference.spell(PASSAGES))
    (asked,) = reference.read(QUESTIONS)
    (question, _) = reference.spell([replace(PASSAGES[0], messages=PASSAGES[0].messages[:1]), PASSAGES[1]])
    assert tuple(question) == asked.ids[: len(question)] and chat > len(question)
    assert plain < len(question)


def test_merged_answers_like_base_and_adapter(models: Path, runtimes: Runtimes, reference: Model, trial: Trial) -> None:
    """The merged weights answer as PEFT does on base and adapter, and the base alone does not."""
    limits = Limits(kl=1e-5, same_tokens=True)
    merged = Subject(what="the export", model=models / "merged")
    evidence = held(runtimes, "transformers", merged, reference, trial, limits)
    assert evidence.same == 1 and evidence.text and evidence.text.top1 > 0.99
    base = Subject(what="the base", model=models / "base")
    with pytest.raises(ReleaseError, match="does not answer like"):
        held(runtimes, "transformers", base, reference, trial, limits)


def test_llama_cpp_answers_like_base_and_adapter(
    gguf: Path, runtimes: Runtimes, reference: Model, trial: Trial
) -> None:
    """llama.cpp on an f32 GGUF of the two reports the same tokens and nearly the same distributions, also in drafts."""
    limits = Limits(kl=1e-3, same_tokens=True)
    evidence = held(runtimes, "llama_cpp", gguf_of(gguf, RENDERED), reference, trial, limits)
    assert evidence.answers and evidence.answers.tokens == len(trial.answers[0].ids)
    with runtimes.model("llama_cpp", gguf_of(gguf, RENDERED)) as drafter:
        assert follow_answers(reference, drafter, QUESTIONS, 6) == trial.answers


def test_weights_that_stay_in_16_bits(
    models: Path, runtimes: Runtimes, trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is cast layer by layer says what one says that was loaded in float32."""
    base = shutil.copytree(models / "base", tmp_path / "base")
    tensors = read_all(base / "model.safetensors")
    halved = {name: value.astype(ml_dtypes.bfloat16) for name, value in tensors.items()}
    tiny.write_tensors(base / "model.safetensors", halved)
    subject = adapted(base, models / "adapter")
    found = []
    for most in (1 << 30, 0):
        monkeypatch.setattr("tagship.verify.runtimes.transformers._SMALL", most)
        with tiny.foreign_warnings():
            model = RUNTIME.load(subject)
            found.append(np.concatenate(list(model.rows([trial.answers[0].tokens]))))
            model.close()
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_crash_is_told_with_the_end_of_what_was_printed(models: Path, runtimes: Runtimes, tmp_path: Path) -> None:
    """A model that does not load is a foreign failure, told with the last lines that were printed."""
    broken = shutil.copytree(models / "merged", tmp_path / "broken")
    tiny.edit_json(broken / "config.json", intermediate_size=5)
    with pytest.raises(ToolError, match="the broken export does not run \\(exit code 1\\)") as caught:
        runtimes.kept("transformers", Subject(what="the broken export", model=broken))
    first, *printed = str(caught.value).splitlines()
    assert first.endswith(":")
    assert "mismatch" in "".join(printed)
    assert 1 <= len(printed) <= 30
    assert all(line.startswith("  ") for line in printed)


def test_next_model_after_a_crash(gguf: Path, runtimes: Runtimes, tmp_path: Path) -> None:
    """llama.cpp's own reason is told of a file that it cannot load, and the next GGUF is run all the same."""
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ToolError, match=r"cannot load model\.gguf"):
        runtimes.kept("llama_cpp", gguf_of(tmp_path / "model.gguf", "a"))
    with runtimes.model("llama_cpp", gguf_of(gguf, RENDERED)) as model:
        assert model.read(QUESTIONS)[0].prompt == RENDERED


def test_killed_while_it_waits(gguf: Path) -> None:
    """A runtime that was killed between two questions, as by a full memory, is told as that, and a new one begins."""
    before = {child.pid for child in psutil.Process().children()}
    with Runtimes() as own:
        model = own.kept("llama_cpp", gguf_of(gguf, RENDERED))
        (worker,) = [child for child in psutil.Process().children() if child.pid not in before]
        worker.kill()
        while worker.status() != psutil.STATUS_ZOMBIE:  # it is the runtimes' to wait for
            time.sleep(0.01)
        with pytest.raises(ToolError, match="the GGUF does not run \\(killed by signal 9\\)"):
            model.read(QUESTIONS)
        assert own.kept("llama_cpp", gguf_of(gguf, RENDERED)).read(QUESTIONS)


def test_model_without_weights(runtimes: Runtimes, tmp_path: Path) -> None:
    """A model folder without weights is refused before anything is started for it."""
    with pytest.raises(ReleaseError, match=r"model\.safetensors"):
        runtimes.kept("transformers", Subject(what="the merged model", model=tmp_path / "no-such-model"))


def test_nothing_is_left_running(models: Path) -> None:
    """With the block all of its processes end, also when an error leaves it."""
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ZeroDivisionError), Runtimes() as own:
        pytest.importorskip("xllamacpp")
        with pytest.raises(ToolError):
            own.kept("llama_cpp", gguf_of(models / "none.gguf", "a"))
        raise ZeroDivisionError
    assert {child.pid for child in psutil.Process().children()} <= before


def test_tokens_that_are_no_whole_character(models: Path, runtimes: Runtimes, tmp_path: Path) -> None:
    """A model that says the first byte of a character again and again, as one that spells an emoji in bytes begins to,
    has the tokens and distributions that transformers tells of it."""
    pytest.importorskip("xllamacpp")
    base = tmp_path / "base"
    shutil.copytree(models / "base", base)
    header = read_header(base / "model.safetensors")
    tensors = {name: header.read(name).copy() for name in header.tensors}
    vocabulary = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    tensors["model.embed_tokens.weight"][:, 0] = 1000  # in the first dimension all tokens are alike
    tensors["lm_head.weight"][vocabulary["<0xF0>"], 0] = 5
    tiny.write_tensors(base / "model.safetensors", tensors)
    weights = MergedWeights(open_checkpoint(base), read_adapter(models / "adapter"))
    write_ggufs(weights, base, {"f32": tmp_path / "m.gguf"}, METADATA, lambda _: None)
    with runtimes.model("transformers", adapted(base, models / "adapter")) as reference:
        answers = follow_answers(reference, reference, QUESTIONS, 6)
        assert set(answers[0].ids) == {vocabulary["<0xF0>"]}
        trial = Trial(questions=QUESTIONS, answers=answers)
        gguf = gguf_of(tmp_path / "m.gguf", RENDERED)
        held(runtimes, "llama_cpp", gguf, reference, trial, Limits(kl=1e-3, same_tokens=True))


# What was trained


def test_end_of_an_answer_is_the_export_s(models: Path, runtimes: Runtimes, trial: Trial, tmp_path: Path) -> None:
    """An answer ends where the files that users get say so."""
    last = trial.answers[0].ids[0]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (models / "base" / name).is_file():
            shutil.copy(models / "base" / name, tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [last]}))
    subject = Subject(what="it", model=models / "base", adapter=models / "adapter", tokenizer=tmp_path)
    with runtimes.model("transformers", subject) as model:
        (answer,) = follow_answers(model, model, QUESTIONS, 6)
    assert (answer.ids, answer.ended) == ((last,), True)


@pytest.mark.parametrize("rows", [tiny.VOCABULARY + 8, tiny.VOCABULARY - 64])
def test_vocabulary_that_the_run_resized(models: Path, runtimes: Runtimes, tmp_path: Path, rows: int) -> None:
    """The base is resized as the run's model was, to the rows that the adapter holds."""
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    with tiny.foreign_warnings():
        model = transformers.AutoModelForCausalLM.from_pretrained(models / "base")
        model.resize_token_embeddings(rows, mean_resizing=False)
        lora = peft.LoraConfig(r=2, target_modules=["o_proj"], modules_to_save=["embed_tokens", "lm_head"])
        peft.get_peft_model(model, lora).save_pretrained(tmp_path)
    with runtimes.model("transformers", adapted(models / "base", tmp_path)) as model:
        (logits,) = model.rows([Tokens(ids=(1, 2), since=1)])
        assert logits.shape == (1, rows)


def test_model_that_transformers_does_not_know(models: Path, runtimes: Runtimes, tmp_path: Path) -> None:
    """It is refused before its weights are read; so is one that only code of its own repository knows, which is never
    run."""
    unknown = shutil.copytree(models / "base", tmp_path / "unknown")
    tiny.edit_json(unknown / "config.json", model_type="no-such-model")
    with pytest.raises(ReleaseError, match=r"does not know the model of base \+ adapter: .*no-such-model"):
        runtimes.examine("transformers", adapted(unknown, models / "adapter"))
    (unknown / "modeling.py").write_text("raise SystemExit(3)")
    tiny.edit_json(unknown / "config.json", auto_map={"AutoConfig": "modeling.Config"})
    with pytest.raises(ReleaseError, match="only code in its own repository does, which is not run"):
        runtimes.examine("transformers", adapted(unknown, models / "adapter"))


def test_modules_that_no_class_has(models: Path, runtimes: Runtimes, tmp_path: Path) -> None:
    """An adapter of modules that the base does not have is refused with the first of them."""
    adapter = shutil.copytree(models / "adapter", tmp_path / "adapter")
    weights = adapter / "adapter_model.safetensors"
    header = read_header(weights)
    tensors = {name.replace("o_proj", "out"): header.read(name).copy() for name in header.tensors}
    tiny.write_tensors(weights, tensors)
    with pytest.raises(ReleaseError, match=r"Phi3ForCausalLM has no model\.layers\.0\.self_attn\.out"):
        runtimes.examine("transformers", adapted(models / "base", adapter))


def test_template_that_cannot_be_used(models: Path, runtimes: Runtimes, tmp_path: Path) -> None:
    """A chat template that fails is told before anything is exported."""
    for path in (models / "base").glob("tokenizer*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].nothing.at_all }}")
    subject = Subject(what="base + adapter", model=models / "base", adapter=models / "adapter", tokenizer=tmp_path)
    with pytest.raises(ReleaseError, match=r"chat template of base \+ adapter cannot be used: .*nothing"):
        runtimes.examine("transformers", subject)


def test_what_is_examined_is_not_loaded(models: Path, runtimes: Runtimes, tmp_path: Path) -> None:
    """A model that can be run passes without its weights being read."""
    base = shutil.copytree(models / "base", tmp_path / "base")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"\x00\x01", b"\x01\x00"))  # as long, and other numbers
    runtimes.examine("transformers", adapted(base, models / "adapter"))


def vision(folder: Path) -> Path:
    """A tiny model that sees, whose text is a Gemma 3."""
    transformers = pytest.importorskip("transformers")
    text = {
        "vocab_size": tiny.VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
    }
    seen = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(text_config=text, vision_config=seen | {"image_size": 28, "patch_size": 14})
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    return tiny.tokenizer(folder)


@pytest.mark.parametrize("inside", ["model.language_model", "model"])
def test_model_that_sees(runtimes: Runtimes, tmp_path: Path, inside: str) -> None:
    """A text adapter is run in the class that has its modules: of the whole model, or of its text alone."""
    base = vision(tmp_path / "base")
    adapter = tiny.exact_lora(tmp_path / "adapter", {f"{inside}.layers.0.self_attn.o_proj": (32, 32)}, rank=2)
    tiny.edit_json(adapter / "adapter_config.json", target_modules=["o_proj"])
    runtimes.examine("transformers", adapted(base, adapter))
    with runtimes.model("transformers", adapted(base, adapter)) as model:
        (answer,) = follow_answers(model, model, QUESTIONS, 6)
    assert answer.ids
