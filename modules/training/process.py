"""A training in a process of its own, so that nothing it does can harm the program.

`run` starts this file and talks to it over its pipes, a JSON object a line: in come the task, then "stop"; out come
what is being done, each step, and the end. A process whose input ends stops too, and keeps what was learned.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from modules.base.free_memory import is_out_of_memory
from modules.errors import Interrupted, Stopped, UserError
from modules.settings import PROJECT, Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
NO_MEMORY = ("There is not enough memory for this training: take a smaller batch, gradient checkpointing or half "
             "precision.")
LAST_WORDS = 2000
"""Characters of a crashed process's output that the log gets."""


class TrainingFailed(UserError):
    """The process ended before the training did."""

    status = 500


@dataclasses.dataclass
class Run:
    """What a training has told so far. `seconds` are those since the first step, `path` is the file that it has
    written."""

    name: str
    step: int = 0
    steps: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    validations: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    samples: list[Path] = dataclasses.field(default_factory=list)
    path: Path | None = None


def run(config: Path, name: str, settings: Settings, device: str, *, check: Callable[[], None],
        told: Callable[[Run, str], None]) -> Run:
    """Trains what the file `config` describes. `told` gets what was told so far and what is being done; `check` is
    called meanwhile: when it raises Stopped the training is ended with what was learned.

    Raises Interrupted where that was before the first step, TrainingFailed, and the UserErrors of a training.
    """
    found, stopped = Run(name), False
    with _process(config, settings, device) as (process, lines):
        while True:
            try:
                check()
            except Stopped:
                if not stopped:
                    stopped = True
                    with contextlib.suppress(OSError):
                        _say(process.stdin, "stop")
            with contextlib.suppress(queue.Empty):
                message = lines.get(timeout=LOOK_SECONDS)
                if message is None:
                    raise _crashed(process)
                if "error" in message:
                    error = UserError(message["error"], field=message["field"])
                    error.status = message["status"]
                    raise error
                if "end" in message:
                    if message["end"] is None:
                        raise Interrupted
                    found.path = Path(message["end"])
                    return found
                _take(found, message)
                told(found, message.get("stage", ""))


def _take(found: Run, message: dict[str, Any]) -> None:
    if "step" in message:
        found.step, found.steps = message["step"], message["steps"]
        found.losses.append(message["loss"])
        found.samples += map(Path, message["samples"])
        if message["validation"] is not None:
            found.validations.append((found.step, message["validation"]))


@contextlib.contextmanager
def _process(config: Path, settings: Settings, device: str) -> Iterator[
        tuple[subprocess.Popen[str], queue.SimpleQueue[dict[str, Any] | None]]]:
    """The process and what it says, line by line; None at the end. It is ended afterwards."""
    folders = {item.name: str(value) for item in dataclasses.fields(settings)
               if isinstance(value := getattr(settings, item.name), Path)}
    process = subprocess.Popen([sys.executable, "-m", __name__], cwd=PROJECT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
                               errors="replace", start_new_session=True)
    lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in cast("IO[str]", process.stdout):
            lines.put(json.loads(line))
        lines.put(None)

    def hear() -> None:
        process.last_words = ""  # type: ignore[attr-defined]
        for line in cast("IO[str]", process.stderr):
            process.last_words = (process.last_words + line)[-LAST_WORDS:]  # type: ignore[attr-defined]

    threads = [threading.Thread(target=one, daemon=True) for one in (listen, hear)]
    for thread in threads:
        thread.start()
    try:
        with contextlib.suppress(OSError):
            _say(process.stdin, {"config": str(config), "folders": folders, "device": device})
        yield process, lines
    finally:
        process.kill()
        process.wait()
        for thread in threads:
            thread.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _crashed(process: subprocess.Popen[str]) -> TrainingFailed:
    code = process.wait()
    log.error("A training ended with %s: %s", code, getattr(process, "last_words", ""))
    why = "it was killed, perhaps for its memory" if code == -getattr(signal, "SIGKILL", 9) else "the log says why"
    return TrainingFailed(f"The training ended by itself: {why}. Train again to go on where it was last kept.")


def _say(pipe: IO[str] | None, message: object) -> None:
    assert pipe is not None
    pipe.write(json.dumps(message) + "\n")
    pipe.flush()


def main() -> int:
    """Be the process: train, tell, obey; the exit status."""
    from modules.training.file import sample_file, train_file
    from modules.training.loop import Progress

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between the messages
    task, stopped = json.loads(sys.stdin.readline()), threading.Event()
    folders: dict[str, Any] = {name: Path(path) for name, path in task["folders"].items()}
    settings = Settings(**folders)
    config = Path(task["config"])

    def obey() -> None:
        sys.stdin.readline()  # "stop", or the end
        stopped.set()

    threading.Thread(target=obey, daemon=True).start()

    def stage(text: str) -> None:
        _say(out, {"stage": text})
        if stopped.is_set():
            raise Interrupted

    def told(progress: Progress) -> bool:
        samples = [str(sample_file(settings.trainings_dir / config.stem, progress.step, number))
                   for number in range(len(progress.samples))]
        _say(out, {"step": progress.step, "steps": progress.steps, "loss": progress.loss,
                   "validation": progress.validation, "samples": samples})
        return not stopped.is_set()

    try:
        made = train_file(config, settings, task["device"], told=told, stage=stage)
        _say(out, {"end": str(made)})
    except Interrupted:
        _say(out, {"end": None})
    except UserError as error:
        _say(out, {"error": error.message, "field": error.field, "status": error.status})
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _say(out, {"error": NO_MEMORY, "field": "batch", "status": 503})
    except BrokenPipeError:  # who started it has ended; the state is kept
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
