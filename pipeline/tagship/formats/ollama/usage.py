"""How people use a GGUF that is published: in Ollama, and in llama.cpp."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from tagship.formats.gguf_model import quant_of
from tagship.formats.ollama.export import IMATRIX_FILE, MODELFILE, file_name
from tagship.formats.ollama.name_rules import LONGEST
from tagship.formats.protocol import ExportJob, Usage
from tagship.naming.version import is_prerelease


def usages(job: ExportJob, files: Sequence[str]) -> tuple[Usage, ...]:
    """As `Format.usages`."""
    first, *more = gguf_files(files)
    run = Usage(title="Ollama", language="shell", code=use_line(job, files))
    llama = Usage(title="llama.cpp", language="shell", code=_llama_line(job, first))
    modelfile = next((name for name in files if name.startswith(MODELFILE)), MODELFILE)
    create = f"ollama create {job.title.lower()} -f {modelfile}\nollama run {job.title.lower()}"
    folder = "Ollama, in the downloaded folder"
    if get := _download(job):
        llama = replace(llama, code=f"{get}\nllama-cli --model {first}")
    if more:
        create = f"llama-gguf-split --merge {first} {file_name(job)}\n{create}"
        folder += ", after joining the files"
    created = Usage(title=folder, language="shell", code=f"{get}\n{create}" if get else create)
    if more:
        return llama, created
    return (created, llama) if get else (run, created, llama)


def use_line(job: ExportJob, files: Sequence[str]) -> str:
    """As `Format.use_line`."""
    if get := _download(job):
        return get
    first, *more = gguf_files(files)
    # Ollama does not run divided files; a mix has no label that a file is found by.
    tag = first if job.settings.mix(quant_of(job)) else quant_of(job).upper()
    return _llama_line(job, first) if more or len(tag) > LONGEST else f"ollama run hf.co/{job.repo_id}:{tag}"


def gguf_files(files: Iterable[str]) -> list[str]:
    """The names of an export's GGUF: one, or the parts of a divided one in order."""
    return sorted(name for name in files if name.endswith(".gguf") and name != IMATRIX_FILE)


def _download(job: ExportJob) -> str | None:
    """How a version is had that is no repo's main: of a repo, Ollama and llama.cpp take main alone."""
    if job.revision is None or not is_prerelease(str(job.version)):
        return None
    return f"hf download {job.repo_id} --revision {job.revision} --local-dir ."


def _llama_line(job: ExportJob, file: str) -> str:
    return f"llama-cli --hf-repo {job.repo_id} --hf-file {file}"
