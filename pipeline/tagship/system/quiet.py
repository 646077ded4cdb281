"""Libraries keep to themselves what they would print: what people have to know of it, our own messages say."""

import logging
import os
import sys
import warnings

_OWN = __name__.partition(".")[0]
# Both print from a handler of their own.
_VERBOSITY = ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY")


def quieten_libraries() -> None:
    """Have warnings and logs of other packages not printed by this process, unless its user asked for them: by -W,
    PYTHONWARNINGS, or the libraries' own variables."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if logging.lastResort is not None:
        logging.lastResort.addFilter(lambda record: record.name.partition(".")[0] == _OWN)
    for name in _VERBOSITY:
        os.environ.setdefault(name, "error")
