"""PatchMatch (Barnes et al. 2009; Wexler et al. 2007 for the filling): a hole filled with patches of its surroundings.

The library pypatchmatch is native code, so it runs in a process of its own: a crash there ends one job and not the
server, and Interrupt ends it at once.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np

from modules.errors import UserError
from modules.imaging.patches import RADIUS, Array, incoherence
from modules.imaging.patchmatch_worker import HEADER, NOT_THERE

WORKER = Path(__file__).with_name("patchmatch_worker.py")
ROW_GUIDE = 0.1
"""How much the distance between rows counts beside the difference of patches.

Photographs stand upright, so that what lies beside the hole fits better than what lies above or below: with the guide
a bench or a wall goes on, without it they are often covered with ground.
"""
CLEARLY = 1.5
"""The fill without the guide is taken if the other is this many times less like its surroundings. (It continues an
upright pole, which the guide breaks off.)"""
ASK_SECONDS = 0.1


class RemoveFailed(UserError):
    """The process that fills ended before it was finished."""

    status = 503


class PatchMatch:
    """A process that fills holes, for use in `with`. `check` is called while it works; what that raises ends it."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check

    def __enter__(self) -> Self:
        # -P: the folder of the worker holds our files, which must not hide modules of the same names.
        self.process = subprocess.Popen([sys.executable, "-P", str(WORKER)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, start_new_session=True)
        self._talker = ThreadPoolExecutor(1, thread_name_prefix="patchmatch")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._talker.shutdown()  # the pipes are closed on the other side, so that its thread ends
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def fill(self, picture: Array, hole: Array, seed: int) -> Array:
        """`picture` (h, w, 3), uint8, with the part where `hole` (h, w) is true filled from the rest.

        Of two fills, with and without preferring patches of the same row, the one that looks more like the surroundings
        is returned. Raises RemoveFailed, and what `check` raises.
        """
        guided = self._filled(picture, hole, seed, ROW_GUIDE)
        free = self._filled(picture, hole, seed, 0)
        likeness = [incoherence(one, hole, self._check) for one in (guided, free)]
        return free if likeness[0] > CLEARLY * likeness[1] else guided

    def _filled(self, picture: Array, hole: Array, seed: int, guide: float) -> Array:
        asked = np.dstack([picture, np.where(hole, np.uint8(255), np.uint8(0))])
        header = HEADER.pack(seed % 2**32, guide, RADIUS, *hole.shape)
        answer = self._talker.submit(self._talk, header + asked.tobytes(), picture.nbytes)
        while True:
            self._check()
            try:
                return np.frombuffer(answer.result(ASK_SECONDS), np.uint8).reshape(picture.shape)
            except TimeoutError:
                continue
            except (OSError, EOFError) as error:
                raise self._failure() from error

    def _talk(self, asked: bytes, size: int) -> bytes:
        to_worker, from_worker = self.process.stdin, self.process.stdout
        assert to_worker
        assert from_worker
        to_worker.write(asked)
        to_worker.flush()
        answer = from_worker.read(size)
        if len(answer) < size:
            raise EOFError
        return answer

    def _failure(self) -> RemoveFailed:
        if self.process.wait() == NOT_THERE:
            return RemoveFailed("Remove needs the library pypatchmatch, which cannot be loaded here: "
                                "pip install pypatchmatch==2.2.0 installs it.")
        return RemoveFailed("The process that fills the painted part ended before it was finished: try again.")
