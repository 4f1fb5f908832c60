"""Several workers behind one queue: requests are split into parts of some batches, and what comes of them is put
together again as one machine would have made it.

The server itself holds no weights then. It draws the seeds, runs the scripts, saves the pictures and knows the files;
each worker (`modules.jobs.crew`) has a lane, a thread that brings it one part after another.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import logging
import math
import queue
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from modules.engine.engine import Engine
from modules.errors import Interrupted, InvalidInput, NotFound, Skipped, UserError
from modules.gallery.formats import Format
from modules.gallery.saving import EncodedImage
from modules.hooks.in_job import Hooks
from modules.jobs.crew import (
    About,
    Begun,
    Crew,
    CrewLost,
    CrewRefused,
    Event,
    Failed,
    Made,
    Over,
    Part,
    Recorded,
    Stage,
    Step,
    Wish,
    what_is_same,
)
from modules.jobs.placement import choose, patient_until
from modules.request import ScriptCall, Txt2Img
from modules.request.job_context import EnoughRecorded, JobContext
from modules.request.options import Options
from modules.request.result import GeneratedImage, Result
from modules.settings import Settings

if TYPE_CHECKING:
    from modules.sampling.types import FirstNoise, Inputs

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""How often one batch may end the worker that makes it."""

ASK_SECONDS = 0.1
"""How often a job asks whether it is to stop while no worker tells anything."""

AGAIN_SECONDS = 1.0
"""How long after it was lost a worker is looked for again."""

FIRST_SWAP, FIRST_PICTURE = 3.0, 1.5
"""Seconds to change the model and for a batch, before they are measured."""

State = Literal["starting", "idle", "working", "lost", "refused"]


class WorkersGone(UserError):
    """There is no worker that could make the picture."""

    status = 503


class Lane:
    """One worker as the scheduler sees it; `PlacedLane` says what `model`, `since`, `warm` and `swap` are.

    `lacks` are models whose file it has not got. `memory` is what it had in use after its last part. `made` are the
    times of its last pictures. `failure` is the last sentence that something went wrong with, "" if nothing did.
    """

    def __init__(self, number: int, crew: Crew) -> None:
        self.number, self.crew = number, crew
        self.state: State = "starting"
        self.about: About | None = None
        self.failure = ""
        self.model, self.since = "", 0.0
        self.warm: frozenset[str] = frozenset()
        self.memory: Mapping[str, Any] = {}
        self.swap = FIRST_SWAP
        self.lacks: set[str] = set()
        self.part: Part | None = None
        self.work: Work | None = None
        self.made: collections.deque[float] = collections.deque(maxlen=1000)

    def described(self) -> dict[str, Any]:
        """For page and programs: where it is, what it does, and how many pictures it made in the last minute."""
        about, part, now = self.about, self.part, time.monotonic()
        return {"number": self.number + 1, "machine": about.machine if about else "",
                "device": about.device if about else "", "state": self.state, "checkpoint": self.model,
                "in_memory": sorted(self.warm), "memory": dict(self.memory),
                "batches": list(part.numbers) if part else [],
                "pictures_a_minute": sum(now - then < 60 for then in list(self.made)), "failure": self.failure}

    @property
    def ready(self) -> bool:
        """Whether it makes parts."""
        return self.state in ("idle", "working")


class Work:
    """A request that is to be made, or a model that is to be loaded; `PlacedWork` says what `model`, `since`,
    `taken` and `seconds` are. With `whole` one worker makes all of it. Its pictures come together by batch number."""

    def __init__(self, kind: Literal["batches", "script", "load"], request: Txt2Img, numbers: Sequence[int], *,
                 model: str, since: float, digest: str = "", extra: Mapping[str, Any] | None = None,
                 hooks: Hooks | None = None, whole: bool = False) -> None:
        self.kind, self.request, self.numbers, self.whole = kind, request, tuple(numbers), whole
        self.model, self.since, self.taken, self.digest = model, since, since, digest
        self.seconds = FIRST_PICTURE
        self.extra, self.hooks = extra or {}, hooks or Hooks()
        self.saves = False
        self.waiting = collections.deque(numbers)
        self.running: dict[Lane, float] = {}  # how many batches of its part are done
        self.parts = 0  # that were taken and whose end the job has not seen
        self.deaths: collections.Counter[int] = collections.Counter()
        self.images: dict[int, list[GeneratedImage]] = {}
        self.kept: list[GeneratedImage] = []
        self.changes: dict[str, Any] = {}
        self.overs: list[Over] = []
        self.warnings: list[str] = []
        self.error: UserError | None = None
        self.cut = False  # before it was done, by an interruption

    @property
    def left(self) -> int:
        """How many batches wait."""
        return len(self.waiting)

    @property
    def done(self) -> float:
        """How many batches are done, those of running parts by their share."""
        running = sum(self.running.values())
        taken = sum(len(lane.part.numbers) for lane in self.running if lane.part)
        return len(self.numbers) - self.left - taken + running

    @property
    def carried_out(self) -> Txt2Img:
        """The request as it was carried out, as far as that is known."""
        return dataclasses.replace(self.request, **self.changes) if self.changes else self.request

    def result(self) -> Result:
        """What came of it, in the order of the request. Raises its UserError."""
        if self.error:
            raise self.error
        images = [one for number in self.numbers for one in self.images.get(number, ())]
        if self.kind == "script":
            images = [self.kept[one] if isinstance(one, int) else one for over in self.overs for one in over.order]
        said = dict.fromkeys((*self.warnings, *(words for over in self.overs for words in over.warnings)))
        interrupted = self.cut or any(over.interrupted for over in self.overs)
        return Result(tuple(images), self.carried_out, tuple(said), interrupted,
                      self.overs[-1].work if self.overs else 1.0,
                      next((over.maps for over in self.overs if over.maps), ()))


@dataclasses.dataclass(frozen=True)
class _Told:
    """What a lane tells the job of `part` of its `work`. None: the part has ended, well or not. `number` is the batch
    of the present event."""

    work: Work
    lane: Lane
    part: Part
    event: Event | None
    number: int = 0


class Fleet(Engine):
    """The engine of a server whose pictures are made by `crews`. Any thread may call `generate`.

    A worker that is not like this program, or cannot be reached, is left out. Raises as `Engine`.
    """

    def __init__(self, settings: Settings, crews: Sequence[Crew]) -> None:
        super().__init__(settings)
        self.lanes = [Lane(number, crew) for number, crew in enumerate(crews)]
        self._works: list[Work] = []
        self._inboxes: dict[Work, queue.SimpleQueue[_Told]] = {}
        self._reads: dict[str, Inputs] = {}
        self._lock = threading.Condition()
        self._closed = False
        for lane in self.lanes:
            threading.Thread(target=self._serve, args=[lane], name=f"worker {lane.number}", daemon=True).start()

    # what the engine does with weights, done by workers

    def make(self, request: Txt2Img, job: JobContext, extra: Mapping[str, Any], first_noise: FirstNoise | None,
             hooks: Hooks, numbers: Sequence[int] | None = None) -> Result:
        if first_noise is not None:
            raise InvalidInput("This script makes the noise itself, so it has to say that one worker carries it out "
                               "as a whole: Script(whole=True).", field="script_name")
        return self._carried_out([self._work("batches", request, extra=extra, hooks=hooks, numbers=numbers)], job)[0]

    def generate_together(self, requests: Sequence[Txt2Img], job: JobContext, *, extras: Sequence[Mapping[str, Any]],
                          hooks: Hooks, lenient: bool) -> list[Result | UserError] | None:
        settled = [self.settled(request) for request in requests]
        if any(self.wildcards.singles(request) is not None for request in settled):
            return None  # each of them is several requests again, which are made together
        works = [self._work("batches", request, extra=extra, hooks=hooks)
                 for request, extra in zip(settled, extras, strict=True)]
        self._follow(works, job, vital=works[:1] if lenient else works)
        if lenient:
            return [work.error or work.result() for work in works]
        return [work.result() for work in works]

    def run_script(self, request: Txt2Img, call: ScriptCall, job: JobContext, hooks: Hooks) -> Result:
        script, _ = self.bound_script(request, call)
        if not script.whole:
            return super().run_script(request, call, job, hooks)
        return self._carried_out([self._work("script", request, hooks=hooks)], job)[0]

    def warm(self, options: Options, job: JobContext) -> None:
        self._carried_out([self._work("load", Txt2Img(options=options))], job)

    def unload(self) -> None:
        super().unload()
        for lane in self.lanes:
            if lane.ready:
                try:
                    lane.crew.unload()
                    lane.warm = frozenset()
                except CrewLost as lost:
                    log.warning("Worker %d: %s", lane.number + 1, lost)

    def summary(self) -> str:
        ready, working = (sum(lane.state in states for lane in self.lanes)
                          for states in (("idle", "working"), ("working",)))
        return f"{ready} of {len(self.lanes)} workers are ready, {working} at work"

    def workers(self) -> list[dict[str, Any]]:
        return [lane.described() for lane in self.lanes]

    def inputs_of(self, options: Options) -> Inputs | None:
        checkpoint, _ = self.files_of(options)
        return self._reads.get(checkpoint.filename) if checkpoint else None

    def close(self) -> None:
        """Let the lanes end once their parts have."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def _work(self, kind: Literal["batches", "script", "load"], request: Txt2Img, *,
              extra: Mapping[str, Any] | None = None, hooks: Hooks | None = None,
              numbers: Sequence[int] | None = None) -> Work:
        """The work of a request, whose checkpoint is spelt out. Raises NotFound."""
        checkpoint, _ = self.files_of(request.options)
        if checkpoint is None:
            raise NotFound(f"There is no checkpoint yet: put one into {self.settings.checkpoint_dirs[0]}.")
        options = request.options
        if not options.sd_model_checkpoint:  # which is the usual one here, and may be another at the worker
            options = options.replaced({"sd_model_checkpoint": checkpoint.filename})
            request = dataclasses.replace(request, options=options)
        if numbers is None:
            numbers = range(request.n_iter if kind == "batches" else 1)
        return Work(kind, request, numbers, model=checkpoint.filename, since=time.monotonic(),
                    digest=self.catalog.hashed(checkpoint).sha256 or "" if kind != "load" else "",
                    extra=extra, hooks=hooks, whole=request.record_steps or kind != "batches")

    # the job's side: its thread sees all that the lanes tell

    def _carried_out(self, works: Sequence[Work], job: JobContext) -> list[Result]:
        """The results of `works`, which are done together. Raises UserError and what `job` raises, but Interrupted:
        workers stop at their next step then, and what they have is in the results."""
        self._follow(works, job, vital=works)
        return [work.result() for work in works]

    def _follow(self, works: Sequence[Work], job: JobContext, *, vital: Sequence[Work]) -> None:
        """Have `works` done, and do for `job` what an engine does: progress, previews, pictures, stopping. Raises the
        error of a `vital` one at once, the others stop then."""
        inbox: queue.SimpleQueue[_Told] = queue.SimpleQueue()
        following = _Following(works, job)
        with self._lock:
            for work in works:
                self._forget_lacks(work.model)
                work.saves = job.saves
                self._inboxes[work] = inbox
            self._works += works
            self._lock.notify_all()
        try:
            following.ask()
            while True:
                with self._lock:
                    self._fail_without_workers(works)
                    if error := next((work.error for work in vital if work.error), None):
                        raise error
                    if all(not work.left and not work.parts for work in works):
                        return
                    if following.interrupted:
                        for work in works:
                            work.cut |= bool(work.left)
                            work.waiting.clear()
                    running = [lane for work in works for lane in work.running]
                for wish in following.wishes():
                    self._stop(running, wish)
                try:
                    told = inbox.get(timeout=ASK_SECONDS)
                except queue.Empty:
                    following.waits(running)
                else:
                    with self._lock:
                        following.hear(told)
                    following.act(told)
                    if isinstance(told.event, Over) and told.event.reads:
                        self._reads[told.work.model] = told.event.reads
                following.ask()
        finally:
            with self._lock:
                for work in works:
                    work.waiting.clear()
                    self._works.remove(work)
                    del self._inboxes[work]
                running = [lane for work in works for lane in work.running]
            self._stop(running, "interrupt")  # of a job that has failed here, such as on a full disk

    def _stop(self, lanes: Sequence[Lane], wish: Wish) -> None:
        for lane in lanes:
            if part := lane.part:
                with contextlib.suppress(CrewLost):  # which its lane finds out
                    lane.crew.stop(part.id, wish)

    def _forget_lacks(self, model: str) -> None:
        """A file that no worker had may be there by now."""
        if all(model in lane.lacks for lane in self.lanes if lane.ready):
            for lane in self.lanes:
                lane.lacks.discard(model)

    def _fail_without_workers(self, works: Sequence[Work]) -> None:
        """Work that no worker can do fails. Workers that start, or are looked for, may still be able to."""
        for work in works:
            if not work.left or work.running:
                continue
            if all(lane.state == "refused" for lane in self.lanes):
                work.error = WorkersGone(f"No worker can be used. {self.lanes[0].failure}")
                work.waiting.clear()
            elif all(work.model in lane.lacks or lane.state == "refused" for lane in self.lanes):
                work.error = work.error or NotFound(f"No worker has {work.model}.")
                work.waiting.clear()

    # the lanes' side: each has a thread

    def _serve(self, lane: Lane) -> None:
        """The life of a lane."""
        while not self._closed:
            try:
                self._meet(lane)
                while (work := self._take(lane)) is not None:
                    self._bring(lane, work)
                return
            except CrewLost as lost:
                if lane.state != "lost":
                    log.warning("Worker %d was lost: %s", lane.number + 1, lost)
                with self._lock:
                    lane.state, lane.failure = "lost", str(lost)
                    lane.model, lane.warm, lane.memory = "", frozenset(), {}
                    self._lock.notify_all()
                    self._lock.wait_for(lambda: self._closed, AGAIN_SECONDS)
            except CrewRefused as refused:
                log.error("Worker %d is left out: %s", lane.number + 1, refused)
                with self._lock:
                    lane.state, lane.failure = "refused", str(refused)
                    self._lock.notify_all()
                return

    def _meet(self, lane: Lane) -> None:
        """Wait until the worker is there. Raises CrewLost, CrewRefused."""
        about = lane.crew.about()
        here = what_is_same(self.settings)
        others = [f"{name}: {about.same.get(name, 'nothing')} there, {here.get(name, 'nothing')} here"
                  for name in sorted({*here, *about.same}) if here.get(name) != about.same.get(name)]
        if others:
            raise CrewRefused(f"{about.machine} would make other pictures ({'; '.join(others)}).")
        with self._lock:
            lane.about, lane.state = about, "idle"
            self._lock.notify_all()

    def _take(self, lane: Lane) -> Work | None:
        """The work whose next part is this lane's, which `lane.part` is then. None when the server stops."""
        with self._lock:
            lane.state, lane.part, lane.work = "idle", None, None
            while not self._closed:
                now = time.monotonic()
                ready = [one for one in self.lanes if one.ready]
                works = [work for work in self._works if work.left and work.model not in lane.lacks]
                work = choose(lane, ready, works, now)
                if work is None:
                    patience = min((patient_until(one, lane) for one in works), default=math.inf)
                    self._lock.wait(None if patience == math.inf else max(patience - now, 0.0))
                    continue
                count = work.left if work.whole else max(1, work.left // (2 * len(ready)))
                numbers = tuple(work.waiting.popleft() for _ in range(count))
                config = self.config.values()
                lane.part = Part(uuid.uuid4().hex, work.kind, work.request, numbers, work.extra, work.hooks.arguments,
                                 work.hooks.left_out, config, work.digest, Format.of(config) if work.saves else None)
                lane.state, lane.work = "working", work
                work.running[lane] = 0.0
                work.parts += 1
                work.taken = now
                if work.model != lane.model:
                    lane.since = now
                return work
            return None

    def _bring(self, lane: Lane, work: Work) -> None:
        """Have the lane's part made, and tell the work's job of it. Raises CrewLost, with what is left put back."""
        part = lane.part
        assert part
        index, finished = 0, False
        began = time.monotonic()
        try:
            for event in lane.crew.make(part):
                if isinstance(event, Begun):
                    index = min(event.done * len(part.numbers) // event.total, len(part.numbers) - 1)
                    finished = False
                    began = self._measured(lane, work, began, swapped=not index)
                elif isinstance(event, Made):
                    finished = True
                    lane.made.extend([time.monotonic()] * len(event.images))
                elif isinstance(event, Over):
                    lane.warm, lane.memory = event.warm, event.memory
                    self._measured(lane, work, began, swapped=work.kind == "load")
                elif isinstance(event, Failed) and event.lacks:
                    with self._lock:
                        lane.lacks.add(work.model)
                        self._put_back(work, part.numbers, event.error)
                    continue
                self._tell(_Told(work, lane, part, event, part.numbers[index]))
        except CrewLost:
            left = part.numbers[index + finished:]
            with self._lock:
                if left and self._died(work, left[0]):
                    left = left[1:]
                if work.kind == "script" and finished:  # a script cannot go on in its middle
                    work.error, left = WorkersGone("The worker was lost in the middle of the script."), ()
                self._put_back(work, left)
            raise
        finally:
            with self._lock:
                work.running.pop(lane, None)
                self._lock.notify_all()
            self._tell(_Told(work, lane, part, None))

    def _measured(self, lane: Lane, work: Work, began: float, *, swapped: bool) -> float:
        """Note how long a change of the model or a batch took that has ended now. Returns the time."""
        now = time.monotonic()
        with self._lock:
            if not swapped:
                work.seconds = self._weighed(work.seconds, now - began)
            elif lane.model != work.model:
                if lane.model:
                    lane.swap = self._weighed(lane.swap, now - began)
                lane.model = work.model
        return now

    @staticmethod
    def _weighed(before: float, now: float) -> float:
        return 0.5 * before + 0.5 * now

    def _put_back(self, work: Work, numbers: Sequence[int], error: UserError | None = None) -> None:
        """What a worker has not made is made by another, before the rest. `error` is why this one cannot."""
        if work in self._inboxes and not work.error:
            work.waiting.extendleft(reversed(numbers))
            if error and all(work.model in lane.lacks or lane.state == "refused" for lane in self.lanes):
                work.error = error
                work.waiting.clear()

    def _died(self, work: Work, number: int) -> bool:
        """Count that batch `number` has ended its worker; whether that has happened too often now."""
        work.deaths[number] += 1
        if work.deaths[number] < MOST_DEATHS:
            return False
        work.error = WorkersGone("This picture ended the worker that made it three times.")
        work.waiting.clear()
        return True

    def _tell(self, told: _Told) -> None:
        if inbox := self._inboxes.get(told.work):
            inbox.put(told)


class _Following:
    """What one job has been told by its workers, in the job's own thread."""

    def __init__(self, works: Sequence[Work], job: JobContext) -> None:
        self._works, self._job = works, job
        self._total = sum(len(work.numbers) for work in works)
        self._begun: dict[Lane, Begun] = {}
        self._batch = -1
        self._shown = Image.new("RGB", (1, 1))
        self._skip = False
        self._repeat = 0.0
        self.interrupted = False

    def ask(self) -> None:
        """Ask the job whether it is to stop."""
        self._heed(self._job.check)

    def _heed(self, act: Any) -> None:
        try:
            act()
        except Interrupted:
            self.interrupted = True
        except Skipped:
            self._skip = True

    def wishes(self) -> list[Wish]:
        """What the running workers are to be told. An interruption is repeated: a part may only just have begun."""
        if self.interrupted:
            now, before = time.monotonic(), self._repeat
            self._repeat = now + ASK_SECONDS if now >= before else before
            return ["interrupt"] if now >= before else []
        skip, self._skip = self._skip, False
        return ["skip"] if skip else []

    def waits(self, running: Sequence[Lane]) -> None:
        """Nothing was told for a while."""
        if not running and not self.interrupted:
            self._job.stage("Waiting for a worker")

    def hear(self, told: _Told) -> None:
        """Note what concerns the whole. The lanes stand still meanwhile."""
        work, lane, event = told.work, told.lane, told.event
        if isinstance(event, Over):
            work.overs.append(event)
            work.changes |= event.changes
        elif isinstance(event, Failed):
            work.error = work.error or event.error
            work.waiting.clear()
        elif event is None:
            work.parts -= 1
        if told.part is not lane.part or lane not in work.running:
            return  # the lane is at its next part already
        if isinstance(event, Begun):
            self._begun[lane] = event
        if isinstance(event, Begun | Step):
            begun = self._begun.get(lane, Begun(0, 1))
            share = event.step / max(event.total, 1) if isinstance(event, Step) else 0.0
            work.running[lane] = min((begun.done + share) / begun.total, 1.0) * len(told.part.numbers)

    def act(self, told: _Told) -> None:
        """Do for the job what an engine would. Raises what saving raises."""
        work, event = told.work, told.event
        if isinstance(event, Stage):
            if told.lane is self._lead():
                self._job.stage(event.text)
        elif isinstance(event, Made):
            self._keep(work, event, told.number, told.part.form)
        elif isinstance(event, Recorded):
            self._record(work, event)
        if isinstance(event, Begun | Step) or event is None:
            self._progress(told)

    def _lead(self) -> Lane | None:
        """The first of the running workers, whose preview and stage are shown."""
        return min((lane for work in self._works for lane in list(work.running)), key=lambda lane: lane.number,
                   default=None)

    def _progress(self, told: _Told) -> None:
        """As if one machine had made as much: whole batches, and steps of the next."""
        done = min(sum(work.done for work in self._works), self._total)
        whole = min(math.floor(done + 1e-6), self._total - 1)
        if whole != self._batch:
            self._batch = whole
            self.ask()  # a skip that was asked for would be forgotten with the next batch
            self._job.batches(whole, self._total)
        if isinstance(event := told.event, Step):
            step, lead = min(round((done - whole) * event.total), event.total), self._lead() or told.lane
            if step > 0:
                self._heed(lambda: self._job.step(step, event.total, lambda: self._preview(lead)))

    def _preview(self, lane: Lane) -> Image.Image:
        """The present guess of what a worker makes, in the thread that asks; else the one before."""
        part = lane.part
        try:
            content = lane.crew.preview(part.id) if part else None
        except CrewLost:
            content = None
        if content:
            with Image.open(io.BytesIO(content)) as image:
                self._shown = image.convert("RGB")
        return self._shown

    def _keep(self, work: Work, made: Made, number: int, form: Format | None) -> None:
        if work.kind == "batches":
            if number in work.images:
                return
            work.changes |= made.changes
        request = dataclasses.replace(work.request, **made.changes)
        images: Sequence[GeneratedImage] = made.images
        if form and made.files:
            images = [EncodedImage(**vars(one), form=form, content=content)
                      for one, content in zip(made.images, made.files, strict=True)]
        kept = [dataclasses.replace(one, path=saved.path)  # without its file, which nobody needs any more
                for one, saved in zip(made.images, self._job.keep(images, request), strict=True)]
        for image in kept:
            work.hooks.saved(image, request)
        work.images[number] = kept
        work.kept += kept

    def _record(self, work: Work, recorded: Recorded) -> None:
        try:
            path = self._job.recording()
        except EnoughRecorded as enough:
            work.warnings.append(str(enough))
            return
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(recorded.content)
