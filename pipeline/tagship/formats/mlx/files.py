"""The files of an export for MLX: what goes with the weights, and their index."""

from pathlib import Path
from typing import Any

from tagship.formats.mlx.config import as_text, mlx_config
from tagship.formats.model_folder import open_weights, with_changes
from tagship.formats.protocol import ExportJob
from tagship.runs.model_files import CONFIG_FILE, GENERATION_FILE, model_files
from tagship.system.files import write_text
from tagship.weights.affine import Affine
from tagship.weights.checkpoint import INDEX_FILE, open_checkpoint
from tagship.weights.merge import MergedWeights
from tagship.weights.mlx_tensors import as_mlx
from tagship.weights.safetensors import FLOATS, read_header

# What mlx-lm converts all floats to by `torch_dtype`, where nobody says it.
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def mlx_weights(job: ExportJob, affine: Affine | None) -> MergedWeights:
    """Base and adapter as mlx-lm has them, quantized where `affine` says how, else in bf16. Raises ReleaseError."""
    config = model_files(job.base, job.run.path).document(CONFIG_FILE)
    wanted = (job.policy.dtype or _DTYPES.get(str(config.get("torch_dtype")))) if affine else "BF16"
    floats = {entry.dtype for entry in open_checkpoint(job.base.path).entries().values()} & set(FLOATS)
    # Where nothing is converted, config.json has nothing new to say.
    weights = open_weights(job, None if floats <= {wanted} else wanted)
    weights = as_mlx(weights, with_changes(config, weights.config_changes()), affine)
    _config(job, weights, affine)  # refused now rather than after the export
    return weights


def write_files(job: ExportJob, weights: MergedWeights, affine: Affine | None, folder: Path) -> None:
    """Put configuration, tokenizer and chat template into an export."""
    model_files(job.base, job.run.path).write(folder)
    write_text(folder / CONFIG_FILE, as_text(_config(job, weights, affine)))


def write_index(weights: MergedWeights, folder: Path) -> None:
    """Write the index of the weights in a folder, which mlx-lm also has for a single file."""
    headers = [read_header(path) for path in sorted(folder.glob("model*.safetensors"))]
    placed = {name: header.path.name for header in headers for name in header.tensors}
    index: dict[str, Any] = {
        "metadata": {"total_size": weights.nbytes, "total_parameters": weights.elements},
        "weight_map": dict(sorted(placed.items())),
    }
    write_text(folder / INDEX_FILE, as_text(index))


def _config(job: ExportJob, weights: MergedWeights, affine: Affine | None) -> dict[str, Any]:
    files = model_files(job.base, job.run.path)
    merged = with_changes(files.document(CONFIG_FILE), weights.config_changes())
    return mlx_config(merged, files.document(GENERATION_FILE), weights, affine)
