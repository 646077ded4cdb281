"""The names of GGUF files: as the Hub and Ollama read them, and by ggml's own convention."""

from collections.abc import Iterator

from msgspec.structs import replace

from tagship.gguf.labels import label_in, unread_label_in
from tagship.lint.finding import ERROR, OK, WARN, Finding
from tagship.lint.held import Held
from tagship.lint.quants import Quantized, missing_parts, same_type, tensor_types_of


def check_ggufs(held: Held) -> Iterator[Finding]:
    """Every GGUF of a folder or repo."""
    models = [name for name, found in held.ggufs.items() if found.kind == "model"]
    for name in models:
        yield from _check_label(name, held)
        yield from _check_tensors(name, held.ggufs[name])
        if missing := missing_parts(name):
            yield Finding(
                level=WARN,
                field="convention",
                name=name,
                held=f"it lacks {' and '.join(missing)}",
                where="BaseName-SizeLabel-FineTune-Version-Encoding.gguf",
                remedy="name it so where programs read names by ggml's convention",
                omission=True,
            )
    for name, found in held.ggufs.items():
        if found.kind == "adapter" and models and (label := label_in(name)):
            yield Finding(
                level=WARN,
                field="quantization",
                name=name,
                said=label,
                held="an adapter: the Hub shows it as a quantized model",
                where="general.type",
                remedy="publish the adapter in a repo of its own",
            )


def _check_label(name: str, held: Held) -> Iterator[Finding]:
    found = held.ggufs[name]
    label, file_type = label_in(name), found.file_type
    there = file_type or (found.shares[0][0] if found.shares else None)
    finding = Finding(level=OK, field="quantization", name=name, said=label, held=there, where="general.file_type")
    remedy = f"name it …-{there}.gguf" if there else "end its name with -Q4_K_M.gguf, or what it is"
    if label is None and held.quant is not None and name.upper().endswith(f"-{held.quant.value.upper()}.GGUF"):
        yield replace(finding, said=held.quant.value, held=held.quant.value, where=held.quant.where)
    elif label is None:
        unread = unread_label_in(name)
        said = f"{unread}, which the Hub and Ollama do not read" if unread else "no type that the Hub and Ollama read"
        yield replace(finding, level=ERROR if unread else WARN, said=said, remedy=remedy)
    elif file_type is not None:
        same = same_type(label, file_type)
        yield finding if same else replace(finding, level=ERROR, remedy=remedy)


def _check_tensors(name: str, found: Quantized) -> Iterator[Finding]:
    if found.contradiction is None or found.file_type is None:
        return
    most = found.shares[0]
    yield Finding(
        level=ERROR,
        field="quantization",
        name=name,
        said=f"{found.file_type} in its header (tensors of {' or '.join(tensor_types_of(found.file_type))})",
        held=f"{most[0]} for {most[1]:.0%} of its weights",
        where="its tensors",
        remedy="quantize it again: its header is not true",
    )
