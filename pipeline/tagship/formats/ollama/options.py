"""What Ollama's format adds to the command line."""

from tagship.formats.options import FormatOption

IMATRIX = FormatOption(help="an importance matrix of llama-imatrix, to quantize by", format="ollama")
