"""llama.cpp's converter and its library for GGUF: those that are installed, or a checkout's."""

import os
import sys

from tagship.system.errors import ReleaseError


def import_converter() -> None:
    """Have `conversion` and `gguf` imported, from LLAMA_CPP_DIR where it is set. Raises ReleaseError."""
    checkout = os.environ.get("LLAMA_CPP_DIR")
    for folder in (checkout, os.path.join(checkout, "gguf-py")) if checkout else ():
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        import conversion  # noqa: F401
        import gguf  # noqa: F401
    except ImportError as error:
        raise ReleaseError(
            f"llama.cpp's converter cannot be imported ({error})", remedy='pip install -e ".[gguf]"'
        ) from None
