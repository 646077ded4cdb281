"""Questions whose answers are waited for no longer than some time, whatever they hang in."""

import queue
from collections.abc import Callable, Mapping
from threading import Thread
from time import monotonic
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_AT_ONCE = 16


def answers_within(seconds: float, questions: Mapping[K, Callable[[], V]]) -> dict[K, V | Exception]:
    """The answer of each question, or what it raised; those that were not answered in time are left out.

    They are asked side by side, in threads that the end of the process does not wait for: a name that no server
    resolves hangs for longer than any timeout of a client.
    """
    waiting: queue.SimpleQueue[tuple[K, Callable[[], V]]] = queue.SimpleQueue()
    answered: queue.SimpleQueue[tuple[K, V | Exception]] = queue.SimpleQueue()
    for question in questions.items():
        waiting.put(question)
    end = monotonic() + seconds

    def work() -> None:
        while monotonic() < end:
            try:
                key, ask = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answered.put((key, ask()))
            except Exception as error:  # noqa: BLE001 - it is the answer
                answered.put((key, error))

    for _ in range(min(_AT_ONCE, len(questions))):
        Thread(target=work, daemon=True).start()
    found: dict[K, V | Exception] = {}
    while len(found) < len(questions) and (left := end - monotonic()) > 0:
        try:
            key, answer = answered.get(timeout=left)
        except queue.Empty:
            break
        found[key] = answer
    return found


def begin(ask: Callable[[], V]) -> Callable[[float], V | Exception | None]:
    """Begin to ask something while other things are done. Returns what waits for the answer, or for what was raised,
    for some seconds; None when it did not come."""
    answered: queue.SimpleQueue[V | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answered.put(ask())
        except Exception as error:  # noqa: BLE001 - it is the answer
            answered.put(error)

    def wait(seconds: float) -> V | Exception | None:
        try:
            return answered.get(timeout=seconds)
        except queue.Empty:
            return None

    Thread(target=work, daemon=True).start()
    return wait
