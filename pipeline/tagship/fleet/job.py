"""A unit, done by a job that knows nothing but where results are:
`python -m tagship.fleet.job RESULTS SHIPMENT INDEX END`.

It ends well wherever it could leave what came of the unit, a failure too.
"""

import sys

from tagship.fleet.away import do_away
from tagship.fleet.carried import get_shipment, put_end
from tagship.release.remote_store import open_store
from tagship.system.errors import ReleaseError


def main(results: str, shipment: str, index: str, end: str) -> int:
    """Do a unit; returns the exit code."""
    try:
        store = open_store(results)
        done = do_away(get_shipment(store, shipment), int(index))
        print(done.printed, end="", file=sys.stderr)
        put_end(store, end, done)
    except ReleaseError as error:
        print(f"error: {error}\n  remedy: {error.remedy}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
