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

from modules.base.files import sweep
from modules.base.first_page import FirstPage
from modules.base.log import to_console
from modules.base.optional import check_torchvision
from modules.errors import UserError
from modules.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fastapi import FastAPI
    from uvicorn import Server

    from modules.engine.engine import Engine
    from modules.gallery.history import History
    from modules.jobs.job import Job
    from modules.jobs.queue import JobQueue

GRACE_SECONDS = 1
"""How long open connections may take to close when the server stops."""

STOP_SECONDS = 2.5
"""How long after a signal the program ends, whatever is still being done."""

UPLOAD_SECONDS = 24 * 60 * 60
"""How long uploads of a server that did not stop cleanly are kept."""


def main() -> int:
    """Runs the server until it is stopped; the exit status."""
    to_console()
    try:
        settings = Settings.from_argv(sys.argv[1:])
        listener = listen(settings)
        first_page = None if settings.nowebui else FirstPage(listener, settings.root_path)
        stay_offline(settings)
        check_torchvision()
        serve(settings, listener, first_page)
    except UserError as error:
        print(f"app.py: {error.message}", file=sys.stderr)
        return 2
    except Terminated:
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def command() -> NoReturn:
    """The program. It ends without waiting for its threads: one inside a step of the network could not be stopped."""
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def listen(settings: Settings) -> socket.socket:
    """Takes the port, before anything slow begins. Raises UserError when it is taken."""
    # With the protocol named, asyncio sets TCP_NODELAY on connections; else each keep-alive answer waits for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
    for folder in {settings.data_dir, settings.config_file.parent, settings.styles_file.parent, settings.cache_dir,
                   settings.checkpoint_dirs[0]}:
        sweep(folder, time.time())
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
                   "GRADIO_TEMP_DIR": str(uploads)}


def forget_old(uploads: Path) -> None:
    """Removes what pages uploaded or showed in earlier runs, when it is a day old: another server may be running."""
    for entry in uploads.iterdir() if uploads.is_dir() else ():
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > UPLOAD_SECONDS:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def serve(settings: Settings, listener: socket.socket, first_page: FirstPage | None) -> None:
    """Builds everything and answers requests until a signal comes. Until then `first_page` answers."""
    import uvicorn

    from modules.api import create_api
    from modules.api.connections import Connection, Server, connection_limit
    from modules.gallery.formats import Format
    from modules.gallery.history import History
    from modules.gallery.saving import Saver
    from modules.jobs.placement import in_flight, in_flight_of_model
    from modules.jobs.queue import JobQueue
    from modules.jobs.recordings import Recordings

    tell_borrowed(settings)
    with engine_of(settings) as (engine, workers):
        history = History(settings.outputs_dir)
        history.look()
        saver = Saver(settings.outputs_dir, history.add, lambda: Format.of(engine.config.values()))
        queue = JobQueue(engine, saver, recordings=Recordings(settings.recordings_dir), limit=settings.max_queue,
                         at_once=in_flight(workers) if workers else 1,
                         alike=in_flight_of_model(workers) if workers else 1)
        api = create_api(engine, queue, settings)
        if not settings.nowebui:
            api = mount_page(api, engine, queue, settings, history)
        warm_up(engine, queue)
        # Uvicorn raises the signal again once it has stopped.
        signal.signal(signal.SIGTERM, terminate)
        accepted = first_page.stop() if first_page else []
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{settings.root_path}"
        print(f"Running on local URL:  {url}", flush=True)
        if settings.autolaunch and not settings.nowebui:
            webbrowser.open(url)
        try:
            Connection.limit = connection_limit()
            server = Server(uvicorn.Config(api, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS,
                                           http=Connection, server_header=False, log_config=None),
                            accepted)
            stop_jobs_first(server, queue)
            server.run(sockets=[listener])
        finally:
            queue.stop()
            queue.close(1.0)  # it may be writing a finished picture


@contextlib.contextmanager
def engine_of(settings: Settings) -> Iterator[tuple[Engine, int]]:
    """The engine, and how many workers it has; 0 if it makes the pictures itself. Raises UserError."""
    from modules.engine.engine import Engine

    if not settings.workers and not settings.cluster:
        yield Engine(settings), 0
        return
    from modules.base.config import Config
    from modules.jobs.ray_workers import RayWorkers
    from modules.jobs.workers import Fleet

    workers = RayWorkers(settings, Config(settings.config_file).values())
    fleet = Fleet(settings, workers.crews)
    try:
        yield fleet, len(workers.crews)
    finally:
        fleet.close()
        workers.close(STOP_SECONDS)


def stop_jobs_first(server: Server, queue: JobQueue) -> None:
    """On a signal the clients that wait for jobs are answered first, and the program ends soon in any case."""
    end_connections = server.handle_exit

    def end_jobs() -> None:
        queue.stop()
        time.sleep(STOP_SECONDS)
        os._exit(0)

    def handle_exit(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=end_jobs, name="stop", daemon=True).start()
        end_connections(number, frame)

    server.handle_exit = handle_exit  # type: ignore[assignment, method-assign]


def tell_borrowed(settings: Settings) -> None:
    """Names each folder of WebUI and ComfyUI that is read. Styles are taken over once, where there are none."""
    for kind, folders in settings.borrowed.items():
        for folder in folders:
            print(f"Reading {kind} from {folder}", flush=True)
    theirs = settings.webui_dir / "styles.csv" if settings.webui_dir else None
    if theirs and theirs.is_file() and not settings.styles_file.exists():
        shutil.copyfile(theirs, settings.styles_file)
        print(f"Copied the styles of {theirs} to {settings.styles_file}", flush=True)


def mount_page(api: FastAPI, engine: Engine, queue: JobQueue, settings: Settings, history: History) -> FastAPI:
    """Puts the page at "/", behind the API's routes and those of the history's pictures."""
    import gradio

    from modules import ui
    from modules.api import cards, datasets
    from modules.api.history import router
    from modules.gallery.thumbnails import Thumbnails
    from modules.ui.page.sessions import limit_sessions

    thumbnails = Thumbnails(settings.cache_dir / "thumbnails")
    threading.Thread(target=thumbnails.forget_old, name="thumbnails", daemon=True).start()
    api.include_router(router(history, thumbnails))
    api.include_router(cards.router(engine.cards, thumbnails))
    api.include_router(datasets.router(settings, thumbnails))
    page = ui.build(engine, queue, settings, history)
    app: FastAPI = gradio.mount_gradio_app(
        api, page, path="/", root_path=settings.root_path or None, show_error=False, ssr_mode=False, run_history=False,
        footer_links=[], max_file_size=settings.max_body_mb * 2**20, allowed_paths=[str(settings.outputs_dir)],
        **ui.look(page, settings))
    limit_sessions(app.routes[-1])
    return app


def warm_up(engine: Engine, queue: JobQueue) -> None:
    """Loads the checkpoint in force as the first job, so that the page is there before the model is. Then its hash is
    computed: every picture's parameters name it, and programs look for it in the list of models.
    """
    from modules.jobs.job import Origin

    def hash_checkpoint(job: Job) -> None:
        checkpoint, _ = engine.files_of(engine.options)
        if checkpoint:
            engine.catalog.sha256(checkpoint)

    if engine.catalog.checkpoints():
        queue.submit_load(engine.options)
        queue.submit_work(hash_checkpoint, origin=Origin(name="Computing a hash"))


class Terminated(BaseException):
    """A signal told the program to end."""


def terminate(*_: object) -> NoReturn:
    """Raise Terminated, so that `finally` blocks run."""
    raise Terminated


if __name__ == "__main__":
    command()
