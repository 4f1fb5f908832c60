"""Workers that are actors of Ray: processes of this machine (`--workers`), or of the machines of a cluster
(`--cluster`).

The only file that imports ray. Whoever reaches a Ray cluster can have it run any code, so it wants
a token.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from modules.engine.models import compute_device
from modules.errors import InvalidInput, UserError
from modules.jobs.crew import About, Crew, CrewLost, CrewRefused, EngineCrew, Event, Part, Wish
from modules.request import Img2Img, Txt2Img
from modules.settings import Settings

log = logging.getLogger(__name__)

STORE_BYTES = 256 * 2**20
"""Of Ray's shared memory, through which pictures go. /dev/shm of a container is often small."""

REACH_SECONDS = 2
"""How long a cluster may take to take a connection; Ray itself would try for 40 seconds."""

CONNECT_SECONDS = 10
"""How long a cluster may take to answer at first."""

NOT_INSTALLED = "Workers need Ray, which is not installed: pip install -r requirements-cluster.txt installs it."

MakeCrew = Callable[[Settings, Mapping[str, Any]], Crew]
"""Makes a worker, in its own process, of the flags and of what config.json holds."""


def engine_crew(settings: Settings, config: Mapping[str, Any]) -> Crew:
    """A worker with an engine of its own."""
    import torch

    from modules.engine.engine import Engine

    torch.set_num_threads(settings.worker_threads)
    engine = Engine(settings)
    engine.config.hold(config)
    return EngineCrew(engine)


class RayWorkers:
    """The workers that `settings` ask for. `crews` are there at once; Ray starts, and then they, in the background.

    Raises UserError where Ray is not installed, or the cluster cannot be reached or used.
    """

    def __init__(self, settings: Settings, config: Mapping[str, Any], make: MakeCrew = engine_crew) -> None:
        self._settings, self._config, self._make = settings, config, make
        _set_environment(settings)
        if settings.cluster:
            _reach(settings.cluster)
        try:
            import ray  # noqa: F401

            logging.getLogger("ray").setLevel(logging.ERROR)
        except ImportError as error:
            raise UserError(NOT_INSTALLED) from error
        count = settings.workers
        if settings.cluster:
            self._connect()
            count = count or self._workers_of_cluster()
        actors: list[Future[Any]] = [Future() for _ in range(count)]
        requests = _Requests()
        self.crews = [RayCrew(actor, requests) for actor in actors]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[actors], name="ray", daemon=True)
        self._thread.start()

    def close(self, timeout: float | None = None) -> None:
        """End the workers, and Ray's own processes on this machine if they were started here. Waits `timeout` seconds
        at most."""
        self._ending.set()
        self._thread.join(timeout)

    def _run(self, actors: Sequence[Future[Any]]) -> None:
        """The life of Ray. On Linux its processes end with the thread that has started them."""
        import ray

        self._start(actors)
        self._ending.wait()
        ray.shutdown()

    def _start(self, actors: Sequence[Future[Any]]) -> None:
        try:
            if not self._settings.cluster:
                self._connect()
            worker = self._worker_class()
            for actor in actors:
                actor.set_result(worker.remote(self._make, self._settings, dict(self._config)))
        except Exception as error:
            log.exception("Ray did not start")
            for actor in actors:
                if not actor.done():
                    actor.set_exception(CrewRefused(f"Ray did not start: {_in_words(error)}"))

    def _connect(self) -> None:
        """Start Ray on this machine, or join the cluster. Raises UserError."""
        import ray

        settings = self._settings
        common: dict[str, Any] = {"namespace": "inpaint-webui", "logging_level": logging.ERROR, "log_to_driver": True}
        if not settings.cluster:
            ray.init(address="local", num_cpus=settings.workers * settings.worker_threads, include_dashboard=False,
                     object_store_memory=STORE_BYTES, _node_ip_address="127.0.0.1", **common)
            return
        try:
            from ray._raylet import GcsClient  # type: ignore[attr-defined]

            # Without the right token `init` would try for ever.
            GcsClient(address=settings.cluster).internal_kv_keys(b"", None, timeout=CONNECT_SECONDS)
            ray.init(address=settings.cluster, **common)
        except Exception as error:
            raise UserError(f"--cluster {settings.cluster} cannot be used: {_in_words(error)}") from error

    def _gpus(self) -> float:
        """The GPUs of one worker; 0 where there are none."""
        import ray

        there = ray.cluster_resources().get("GPU", 0.0)
        if not there or (not self._settings.cluster and compute_device(self._settings) != "cuda"):
            return 0.0
        wanted = self._settings.workers * self._settings.worker_gpus
        if not self._settings.cluster and wanted > there:
            raise CrewRefused(f"{self._settings.workers} workers need {wanted:g} GPUs, and there are {there:g}: "
                              "--worker-gpus 0.5 lets two share one.")
        return self._settings.worker_gpus

    def _workers_of_cluster(self) -> int:
        """As many as the cluster has GPUs for, else one for each of its machines."""
        import ray

        gpus = int(ray.cluster_resources().get("GPU", 0.0) / self._settings.worker_gpus)
        return gpus or sum(bool(node["Alive"]) for node in ray.nodes())

    def _worker_class(self) -> Any:
        import ray

        return ray.remote(
            num_cpus=self._settings.worker_threads, num_gpus=self._gpus(), max_restarts=-1,
            max_task_retries=0,  # Ray would make a part again from its start, with pictures that we have
            concurrency_groups={"work": 1, "watch": 4})(_Worker)


class _Worker:
    """The actor. "watch" is answered while "work" works: no part could be stopped otherwise."""

    def __init__(self, make: MakeCrew, settings: Settings, config: Mapping[str, Any]) -> None:
        self._crew = make(settings, config)

    def about(self) -> About:
        return self._crew.about()

    def make(self, part: Part, request: Txt2Img) -> Iterator[Event]:
        yield from self._crew.make(dataclasses.replace(part, request=request))

    def preview(self, part_id: str) -> bytes | None:
        return self._crew.preview(part_id)

    def stop(self, part_id: str, wish: Wish) -> None:
        self._crew.stop(part_id, wish)

    def unload(self) -> None:
        self._crew.unload()


class _Requests:
    """Requests with pictures in Ray's memory, each once for all the parts that are made of it, while it is in use."""

    def __init__(self) -> None:
        self._there: dict[int, Any] = {}
        self._lock = threading.Lock()

    def sent(self, request: Txt2Img) -> Any:
        """What an actor is given for `request`: its reference there, or a small one itself."""
        import ray

        if not (isinstance(request, Img2Img) or request.control_units or request.first_pass):
            return request
        with self._lock:
            if id(request) not in self._there:
                self._there[id(request)] = ray.put(request)
                weakref.finalize(request, self._there.pop, id(request)).atexit = False
            return self._there[id(request)]


class RayCrew:
    """A `Crew` that is an actor, once Ray has started."""

    def __init__(self, actor: Future[Any], requests: _Requests) -> None:
        self._actor, self._requests = actor, requests

    def about(self) -> About:
        import ray
        from ray.exceptions import RayActorError

        with _lost():
            try:
                about: About = ray.get(self._call("about", "watch"))
            except RayActorError as error:
                if error.actor_init_failed:
                    raise CrewRefused(f"The worker did not start: {_in_words(error)}") from error
                raise
            return about

    def make(self, part: Part) -> Iterator[Event]:
        import ray

        with _lost():
            self._actor.result()  # before that Ray has no memory
            request = self._requests.sent(part.request)
            short = dataclasses.replace(part, request=Txt2Img())
            for event in self._call("make", "work", short, request, num_returns="streaming"):
                yield ray.get(event)

    def preview(self, part_id: str) -> bytes | None:
        import ray

        with _lost():
            found: bytes | None = ray.get(self._call("preview", "watch", part_id))
            return found

    def stop(self, part_id: str, wish: Wish) -> None:
        with _lost():
            self._call("stop", "watch", part_id, wish)

    def unload(self) -> None:
        import ray

        with _lost():
            ray.get(self._call("unload", "work"))

    def _call(self, method: str, group: str, *arguments: Any, **how: Any) -> Any:
        return getattr(self._actor.result(), method).options(concurrency_group=group, **how).remote(*arguments)


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Ray's errors as CrewLost."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise CrewLost(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    """The first line that says something, since Ray's errors are pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _reach(address: str) -> None:
    """Raise UserError unless something listens at `address`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise InvalidInput(f"--cluster wants HOST:PORT, such as 10.0.0.1:6379, and not {address}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise UserError(f"--cluster {address} cannot be reached: {error.strerror or error}.") from error


def _set_environment(settings: Settings) -> None:
    """What Ray reads when it is imported. Raises InvalidInput for a cluster without a token."""
    os.environ |= {"RAY_AUTH_MODE": "token",
                   "RAY_USAGE_STATS_ENABLED": "0",
                   "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1" if settings.cluster else "0",  # 0: on loopback only
                   "RAY_worker_niceness": "0"}  # at Ray's +15 workers starve beside anything else
    if settings.cluster:
        here = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
        if not here and not os.path.exists(os.path.expanduser("~/.ray/auth_token")):
            raise InvalidInput("--cluster needs the cluster's token, in RAY_AUTH_TOKEN or in the file that "
                               "RAY_AUTH_TOKEN_PATH names: whoever reaches a cluster without one runs any code there.")
        return
    os.environ.pop("RAY_ADDRESS", None)  # which would join a cluster
    os.environ.pop("RAY_AUTH_TOKEN", None)
    path = settings.cache_dir / "ray-token"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
