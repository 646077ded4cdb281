"""What Ollama's format adds to the command line."""

from tagship.formats.options import FormatOption

# What `imatrix` says in place of a file's name.
MAKE = "make"
IMATRIX = FormatOption(help="an importance matrix to quantize by: a file of llama-imatrix, or make", format="ollama")
