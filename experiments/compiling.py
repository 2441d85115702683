"""Programs that are compiled while others run, and how many steps one call of them takes."""

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Program = TypeVar("_Program")
# Steps of one call at most: what a timed measurement takes.
BLOCK = 20


class AheadOfTime(Generic[_Key, _Program]):
    """Compiles each program once, ahead of its use, on two threads, in the order of the jobs."""

    def __init__(self, jobs: Mapping[_Key, Callable[[], _Program]]) -> None:
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="compile")
        self._programs = {key: self._pool.submit(job) for key, job in jobs.items()}

    def get(self, key: _Key) -> _Program:
        """Returns the compiled program; an error while compiling it is raised here."""
        return self._programs[key].result()

    def wait(self, advance: Callable[[int], None]) -> None:
        """Returns when all are compiled; what went wrong is kept for `get`."""
        for program in as_completed(self._programs.values()):
            program.exception()
            advance(1)

    def close(self) -> None:
        """Drops what has not been started; what is being compiled ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def block_of(chunk: int) -> int:
    """Returns the largest number of steps up to `BLOCK` that divides a chunk."""
    return max(b for b in range(1, min(chunk, BLOCK) + 1) if chunk % b == 0)
