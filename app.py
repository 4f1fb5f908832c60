"""The entry point: reads the flags, builds the engine, the queue, the API and the page, and serves them.

    python app.py [--help]
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from modules.errors import UserError
from modules.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from modules.engine.engine import Engine
    from modules.gallery.history import History
    from modules.jobs.job import Job
    from modules.jobs.queue import JobQueue

GRACE_SECONDS = 3
"""How long open connections may take to close when the server stops."""

UPLOAD_SECONDS = 24 * 60 * 60
"""How long uploads of a server that did not stop cleanly are kept."""


def main() -> int:
    """Runs the server until it is stopped; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_argv(sys.argv[1:])
        listener = listen(settings)
        stay_offline(settings)
        serve(settings, listener)
    except UserError as error:
        print(f"app.py: {error.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def listen(settings: Settings) -> socket.socket:
    """Takes the port, before anything slow begins. Raises UserError when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen()
    except OSError as error:
        raise UserError(f"Port {settings.port} cannot be used ({error.strerror}); --port takes another.") from error
    return listener


def stay_offline(settings: Settings) -> None:
    """Set the environment of the libraries before they are imported: no network, and their files in our cache
    folder."""
    uploads = settings.cache_dir / "gradio"
    forget_old(uploads)
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
                   "GRADIO_TEMP_DIR": str(uploads)}


def forget_old(uploads: Path) -> None:
    """Removes what pages uploaded or showed in earlier runs, when it is a day old: another server may be running."""
    for entry in uploads.iterdir() if uploads.is_dir() else ():
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > UPLOAD_SECONDS:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def serve(settings: Settings, listener: socket.socket) -> None:
    """Builds everything and answers requests until a signal comes."""
    import uvicorn

    from modules.api import create_api
    from modules.engine.engine import Engine
    from modules.gallery.history import History
    from modules.gallery.saving import Saver
    from modules.jobs.queue import JobQueue

    engine = Engine(settings)
    history = History(settings.outputs_dir)
    history.look()
    queue = JobQueue(engine, Saver(settings.outputs_dir, history.add), limit=settings.max_queue)
    api = create_api(engine, queue, settings)
    if not settings.nowebui:
        api = mount_page(api, engine, queue, settings, history)
    warm_up(engine, queue)
    # Uvicorn raises the signal again once it has stopped; SystemExit lets `finally` run.
    signal.signal(signal.SIGTERM, stop)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{settings.root_path}"
    print(f"Running on local URL:  {url}", flush=True)
    if settings.autolaunch and not settings.nowebui:
        webbrowser.open(url)
    try:
        uvicorn.Server(uvicorn.Config(api, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS,
                                      server_header=False)).run(sockets=[listener])
    finally:
        queue.close()


def mount_page(api: FastAPI, engine: Engine, queue: JobQueue, settings: Settings, history: History) -> FastAPI:
    """Puts the page at "/", behind the API's routes and those of the history's pictures."""
    import gradio

    from modules import ui
    from modules.api.history import router
    from modules.gallery.thumbnails import Thumbnails

    thumbnails = Thumbnails(settings.cache_dir / "thumbnails")
    threading.Thread(target=thumbnails.forget_old, name="thumbnails", daemon=True).start()
    api.include_router(router(history, thumbnails))
    page = ui.build(engine, queue, settings, history)
    app: FastAPI = gradio.mount_gradio_app(
        api, page, path="/", root_path=settings.root_path or None, show_error=False, ssr_mode=False, run_history=False,
        footer_links=[], max_file_size=settings.max_body_mb * 2**20, allowed_paths=[str(settings.outputs_dir)],
        **ui.look(settings))
    return app


def warm_up(engine: Engine, queue: JobQueue) -> None:
    """Loads the checkpoint in force as the first job, so that the page is there before the model is. Then its hash is
    computed: every picture's parameters name it, and programs look for it in the list of models.
    """
    def hash_checkpoint(job: Job) -> None:
        checkpoint, _ = engine.files_of(engine.options)
        if checkpoint:
            engine.catalog.sha256(checkpoint)

    if engine.catalog.checkpoints():
        queue.submit_load(engine.options)
        queue.submit_work(hash_checkpoint)


def stop(*_: object) -> NoReturn:
    """Exit through SystemExit, so that `finally` blocks run."""
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
