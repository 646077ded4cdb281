"""How large a GGUF will be, by headers alone."""

from typing import TYPE_CHECKING

from tagship.formats.gguf_model import quant_of
from tagship.formats.ollama.export import mix_of
from tagship.formats.ollama.quant_facts import BITS, bits_of
from tagship.formats.protocol import ExportJob
from tagship.gguf.layout import foreseen_size, foreseen_tensors
from tagship.runs.model_files import CONFIG_FILE
from tagship.system.json_files import read_object

if TYPE_CHECKING:
    from tagship.weights.merge import MergedWeights

# What a tokenizer takes of a GGUF, for each byte of its files, at most; and all other keys together, bytes.
_OF_TOKENIZER, _KEYS = 2, 1 << 14
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


def gguf_size(job: ExportJob, weights: "MergedWeights") -> int:
    """The bytes of an export's GGUF: those of its tensors in the types that they will have, where it is known how the
    converter calls them, and a little more for what is before them; else as its quantization type says, or what a mix
    that is still to be found aims at."""
    quant = quant_of(job)
    aim = job.settings.mix(quant)
    bits = bits_of(aim) if aim else BITS[quant]
    if aim and job.found is None:
        return estimated_size(weights, bits)
    shapes = {name: output.shape for name, output in weights.outputs.items()}
    tensors = foreseen_tensors(shapes)
    if tensors is None:
        return estimated_size(weights, bits)
    config = read_object(job.base.path / CONFIG_FILE)
    imatrix = bool(job.settings.weighed)
    return foreseen_size(tensors, mix_of(job), config, imatrix=imatrix) + _size_of_keys(job)


def estimated_size(weights: "MergedWeights", bits: float) -> int:
    """A little more than so many bits for each number, as some tensors have more."""
    return int(weights.elements * bits / 8 * 1.1)


def _size_of_keys(job: ExportJob) -> int:
    """The keys of a GGUF are a tokenizer, and some more; a base that is not here yet may lack it."""
    files = [folder / name for folder in (job.base.path, job.run.path) for name in _TOKENIZER_FILES]
    return _KEYS + _OF_TOKENIZER * max((file.stat().st_size for file in files if file.is_file()), default=0)
