"""How tests fill a disk."""

import os


def fill(file: int) -> None:
    for size in (4096, 1):
        try:
            while True:
                os.write(file, bytes(size))
        except OSError:
            continue
