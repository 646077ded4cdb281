"""What is published beside an adapter's GGUF, how base and adapter are talked to, and whether an export says what it
should."""

from pathlib import Path

from tagship.formats.differences import NotAsExported, listed
from tagship.formats.gguf_model import quant_of
from tagship.formats.lora_gguf.export import file_name
from tagship.formats.model_folder import check_model_files, open_weights
from tagship.formats.protocol import ExportJob
from tagship.gguf.header import read_gguf_header
from tagship.runs.model_files import TOKENIZER_CONFIG, ModelFiles, model_files
from tagship.system.errors import ReleaseError
from tagship.system.files import scratch_folder, write_text
from tagship.system.worker import write_reply
from tagship.verify.conversations import USER
from tagship.verify.questions import Questions

MODELFILE, TEMPLATE_FILE = "Modelfile", "chat_template.jinja"
# Types that a tensor of a file may have: rows that are no multiple of 32 are not in blocks.
_TYPES = {"f16": ("F16", "F32"), "bf16": ("BF16", "F32"), "f32": ("F32",), "q8_0": ("Q8_0", "F16", "F32")}


def base_file(job: ExportJob) -> str:
    """What people's own GGUF of the base is called in examples."""
    return f"{job.base.id.rpartition('/')[2]}.gguf"


def own_template(job: ExportJob) -> str | None:
    """The run's chat template, where it is another than the base's, which a GGUF of the base has."""
    ours = _template(model_files(job.base, job.run.path))
    with scratch_folder("tagship-no-run") as no_run:
        theirs = _template(model_files(job.base, no_run))
    return ours if ours != theirs else None


def write_beside(job: ExportJob, folder: Path) -> None:
    """All but the GGUF: the license; the run's chat template, where the base's GGUF has another; else a Modelfile, as
    Ollama takes no template but the base's or one in Go's language."""
    files = model_files(job.base, job.run.path)
    files.write(folder, files.of_the_license)
    if (template := own_template(job)) is not None:
        write_text(folder / TEMPLATE_FILE, template)
        return
    on_hub = job.settings.base_gguf
    base = f"hf.co/{on_hub}" if on_hub else f"./{base_file(job)}"
    given = {"base": base, "base_id": job.base.id, "on_hub": bool(on_hub), "gguf": file_name(job)}
    write_text(folder / MODELFILE, job.templates.render("lora-gguf/Modelfile.j2", **given))


def check_beside(job: ExportJob, folder: Path) -> None:
    """Raise NotAsExported for an export with other files than `write_beside` makes."""
    with scratch_folder("tagship-files") as expected:
        write_beside(job, expected)
        check_model_files(job, folder, expected, "the lora-gguf export")
        unknown = [name for name in (MODELFILE, TEMPLATE_FILE) if (folder / name).exists()]
        if extra := [name for name in unknown if not (expected / name).exists()]:
            raise NotAsExported(f"{folder} has a {extra[0]} that nothing made", remedy="export it again")


def check_header(job: ExportJob, path: Path) -> None:
    """Raise NotAsExported for a GGUF that says or holds something else than the adapter's."""
    from tagship.gguf.adapter_conversion import alpha_of, low_rank

    header, weights = read_gguf_header(path), open_weights(job)
    alpha = alpha_of(low_rank(weights))
    expected = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": alpha}
    found = [
        f"{key} is {header.metadata.get(key)!r} and not {value!r}"
        for key, value in expected.items()
        if header.metadata.get(key) != value
    ]
    allowed = _TYPES[quant_of(job)]
    found += [f"{held.name} is {held.type_name}" for held in header.tensors if held.type_name not in allowed]
    if found:
        raise NotAsExported(
            f"{path.name} is not the {quant_of(job)} GGUF of this adapter: {listed(found)}",
            remedy="what runs it goes by what it says: export it again; nothing was published",
        )


def render(job: ExportJob, questions: Questions, said: Path) -> None:
    """In the worker: leave in a file the prompts that the model's chat template makes of questions, as base + adapter
    reads them."""
    write_reply(said, _rendered(job, questions))


def _rendered(job: ExportJob, questions: Questions) -> tuple[str, ...]:
    from transformers import AutoTokenizer

    from tagship.verify.rendering import render_chat

    files = model_files(job.base, job.run.path)
    with scratch_folder("tagship-tokenizer") as folder:
        files.write(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.chat_template:
        return questions.prompts
    try:
        asked = [[{"role": USER, "content": prompt}] for prompt in questions.prompts]
        return tuple(render_chat(tokenizer, messages, questions.moment) for messages in asked)
    except Exception as error:
        raise ReleaseError(
            f"the model's chat template does not render a user's message: {error}",
            remedy="mend chat_template.jinja in the run's folder, or leave the lora-gguf format out",
        ) from error


def _template(files: ModelFiles) -> str | None:
    """The chat template that files have, where it is one text."""
    if TEMPLATE_FILE in files.sources:
        return files.sources[TEMPLATE_FILE].read_text(encoding="utf-8")
    said = files.document(TOKENIZER_CONFIG).get("chat_template")
    return said if isinstance(said, str) else None
