"""The GGUF that is made to draft answers where a release has none that would do."""

from pathlib import Path

import pytest
from tagship.formats.ollama import format as ollama
from tagship.formats.ollama.format import FORMAT
from tagship.formats.ollama.settings import OllamaSettings
from tagship.formats.protocol import ExportJob
from tagship.gguf.header import read_gguf_header
from tagship.verify.questions import Questions

from tests import tiny
from tests.formats import jobs

QUESTIONS = Questions(prompts=("Name all months",), max_tokens=8)
NONE, SECOND, ALL = "none", "as much as the second takes", "enough"


@pytest.fixture
def job(tmp_path: Path) -> ExportJob:
    pytest.importorskip("conversion")
    pytest.importorskip("xllamacpp")
    base = tiny.tokenizer(tiny.llama(tmp_path / "base", hidden=256))
    settings = OllamaSettings(quants=("q4_k_m",), template=None, imatrix=None)
    run = tiny.adapter(base, tmp_path / "run")
    return jobs.job_of(base, run, variant=FORMAT.variants(settings, ())[0], settings=settings)


@pytest.mark.parametrize(
    ("memory", "disk", "expected"),
    [(ALL, ALL, "Q8_0"), (SECOND, ALL, "Q5_0"), (ALL, SECOND, "Q5_0"), (NONE, ALL, "Q4_0"), (ALL, NONE, None)],
)
def test_the_nearest_that_there_is_room_for(
    job: ExportJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str, disk: str, expected: str | None
) -> None:
    """Memory decides which, and where it holds none it is the smallest; a disk without room gets none."""
    second = sorted(FORMAT.footprint(draft).disk for draft in FORMAT._drafts(job))[1]
    room = {NONE: 0, SECOND: second, ALL: 1 << 40}
    monkeypatch.setattr(ollama, "free_disk", lambda folder: room[disk])
    (made := tmp_path / "made").mkdir()
    subject = FORMAT.draft(job, made, QUESTIONS, room[memory])
    tensors = read_gguf_header(subject.model).tensors if subject else ()
    found = {tensor.type_name for tensor in tensors if len(tensor.shape) > 1}
    assert found == ({expected} if expected else set())
