"""What goes with the weights of an export: embedding, tokenizer and configuration have to be of one vocabulary."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.formats.model_folder import open_weights
from tagship.formats.protocol import ExportJob
from tagship.naming.variant import Variant
from tagship.system.errors import ReleaseError

from tests import tiny
from tests.formats import jobs

ROWS, WIDTH = 8, 4


@pytest.fixture
def job(tmp_path: Path) -> ExportJob:
    """A base with an embedding of eight rows and a tokenizer of eight tokens, and an adapter for it."""
    base = tmp_path / "base"
    base.mkdir()
    embedding = {"model.embed_tokens.weight": np.ones((ROWS, WIDTH), np.float32)}
    tiny.write_tensors(base / "model.safetensors", embedding | {"model.proj.weight": np.ones((4, 4), np.float32)})
    (base / "config.json").write_text(json.dumps({"vocab_size": ROWS, "model_type": "llama"}), encoding="utf-8")
    write_tokenizer(base, ROWS)
    run = tiny.exact_lora(tmp_path / "run", {"model.proj": (4, 4)}, rank=1)
    return jobs.job_of(base, run, variant=Variant(quant=None, kind="vllm", prefix="vllm", label="vllm"))


def write_tokenizer(folder: Path, tokens: int, added: tuple[int, ...] = (), *, unigram: bool = False) -> None:
    pieces = [f"piece {number}" for number in range(tokens)]
    vocabulary: Any = [[piece, 0.0] for piece in pieces] if unigram else {piece: i for i, piece in enumerate(pieces)}
    document = {"model": {"vocab": vocabulary}, "added_tokens": [{"id": token, "content": "x"} for token in added]}
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")


def refused(job: ExportJob) -> str:
    with pytest.raises(ReleaseError) as caught:
        open_weights(job)
    return str(caught.value)


@pytest.mark.parametrize("unigram", [False, True])
def test_a_token_for_each_row(job: ExportJob, unigram: bool) -> None:
    """A tokenizer of as many tokens as rows, or fewer, fits; also one in the way of Unigram, whose ids are places."""
    write_tokenizer(job.run.path, ROWS, unigram=unigram)
    open_weights(job)
    write_tokenizer(job.run.path, ROWS - 2, unigram=unigram)
    open_weights(job)


@pytest.mark.parametrize("unigram", [False, True])
def test_run_with_more_tokens_than_rows(job: ExportJob, unigram: bool) -> None:
    """A token that training added, and that no row embeds, is told before anything is written."""
    write_tokenizer(job.run.path, ROWS + 1, unigram=unigram)
    assert "has the token id 8, but the model has 8 rows" in refused(job)


def test_run_with_an_added_token_without_a_row(job: ExportJob) -> None:
    """The same of a token that was added beside the vocabulary."""
    write_tokenizer(job.run.path, ROWS, (ROWS,))
    assert "has the token id 8, but the model has 8 rows" in refused(job)


def test_base_with_a_token_without_a_row(job: ExportJob) -> None:
    """A base that has such a token itself, as Gemma 3 has one for images, is exported as it is."""
    write_tokenizer(job.base.path, ROWS, (ROWS,))
    open_weights(job)
    write_tokenizer(job.run.path, ROWS, (ROWS,))
    open_weights(job)
    write_tokenizer(job.run.path, ROWS, (ROWS, ROWS + 1))
    assert "has the token id 9" in refused(job)


def test_embedding_with_fewer_rows_than_the_configuration_says(job: ExportJob) -> None:
    """Such a base would not load: it is told to be damaged."""
    tiny.edit_json(job.base.path / "config.json", vocab_size=ROWS + 1)
    assert "has vocab_size 9, its embedding 8 rows" in refused(job)


@pytest.mark.parametrize("content", ["{}", "[]", "no", '{"model": {"vocab": {"a": "b"}}}', '{"model": 1}'])
def test_tokenizer_that_is_none(job: ExportJob, content: str) -> None:
    """A file that is no tokenizer is refused by its name."""
    (job.run.path / "tokenizer.json").write_text(content, encoding="utf-8")
    assert "is no tokenizer" in refused(job)
