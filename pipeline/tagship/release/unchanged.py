"""Whether what exports are made from stayed as it was while they were made: a base that is downloaded, trained or
synchronized meanwhile is in one half of an export, and not in the other. (Of weights that are changed between two
readings of them, `weights/sources.py` tells at once.)"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tagship.formats.protocol import ExportJob
from tagship.history.model import ModelState
from tagship.runs.model_files import model_files
from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of
from tagship.system.known_digests import LARGE, seen
from tagship.system.pool import beside
from tagship.system.progress import Advance
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE


class Watch:
    """The files of some exports' base and runs, as they were in the beginning: large ones by size, times and place,
    others by what is in them, too."""

    def __init__(self, jobs: Sequence[ExportJob]) -> None:
        paths = dict.fromkeys(path for job in jobs for path in _read_of(job))
        self._was = {path: (seen(path), _content(path)) for path in paths}

    def moved(self) -> list[Path]:
        """The files that are other ones by now; of large ones, that may be."""
        return [path for path, was in self._was.items() if _is_other(path, *was)]


@contextmanager
def unchanged(
    jobs: Sequence[ExportJob], states: Callable[[Advance], Mapping[Path, ModelState]]
) -> Iterator[Callable[[Path], ModelState]]:
    """What `states` says the runs of some jobs are made of, by their folders, read in a thread while the block makes
    exports of them. Raises ReleaseError, at the block's end, where that was changed meanwhile: a large file that was
    written again is compared by its digest, where that is of before."""
    watch = Watch(jobs)

    def read(advance: Advance) -> tuple[Mapping[Path, ModelState], list[Path]]:
        return states(advance), watch.moved()

    with beside(read) as found:
        yield lambda run: found()[0][run]
        first, early = found()
    if not (moved := watch.moved()):
        return
    told = all(state.base_files for state in first.values())  # of a base that is on the Hub, states tell no files
    large = all(path.is_file() and path.stat().st_size >= LARGE for path in moved)
    if early or not told or not large or states(lambda _: None) != first:
        raise ReleaseError(
            f"{', '.join(map(str, moved))} changed while exports were made of it, which were not kept",
            remedy="see that nothing writes there any more, and run the same command again",
        )


def _read_of(job: ExportJob) -> Iterator[Path]:
    yield from (path for path in sorted(job.base.path.iterdir()) if path.is_file())
    yield from (job.run.path / name for name in (CONFIG_FILE, WEIGHTS_FILE))
    yield from model_files(job.base, job.run.path).sources.values()


def _content(path: Path) -> str | None:
    return sha256_of(path) if path.stat().st_size < LARGE else None


def _is_other(path: Path, was: Sequence[int], content: str | None) -> bool:
    try:
        return seen(path) != was and (content is None or _content(path) != content)
    except OSError:  # it is gone
        return True
