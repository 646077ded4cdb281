"""Where the task `hub` opens the embedded Hub, unless it is told otherwise: what is printed of it leads there, as the
one that a release starts ends with the release."""

PORT = 8765
SERVED = f"http://127.0.0.1:{PORT}"
