"""Where llama.cpp's functions come from."""

import sys

import pytest
from tagship.system.errors import ReleaseError
from tagship.system.llama_library import llama_library


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named, with what installs it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ReleaseError, match="xllamacpp, which encodes and runs GGUFs, is not installed") as caught:
        llama_library.__wrapped__()
    assert caught.value.remedy is not None
    assert "[gguf]" in caught.value.remedy


def test_one_for_all() -> None:
    """Encoding and running share a library that has the functions of both."""
    pytest.importorskip("xllamacpp")
    library = llama_library()
    assert library is llama_library()
    assert library.ggml_quantize_chunk
    assert library.llama_decode
