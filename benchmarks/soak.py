"""Mixed load on a running server for a time; its memory, open files and threads meanwhile, as a plot and in words.

    python -m benchmarks.soak --minutes 60 [--chromium /usr/bin/chromium] [--out FILE.png] [-- flags of app.py]

Three loads run at once. One asks for pictures of each kind through each way in, and changes between three checkpoints,
of which the model cache holds two. One asks every other endpoint, searches the history and fetches its pictures and
thumbnails. One opens the page in Chromium, generates a picture there, looks at the History tab and closes the page.
Any answer of 400 and more counts as a failure, but for that of a job which another load interrupted. Flat means that
the median of the last third of the samples lies within 10 % of that of the middle third.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from gradio_client import Client
from PIL import Image, ImageDraw

PROJECT = Path(__file__).resolve().parent.parent
CHECKPOINT = PROJECT / "models" / "Stable-diffusion" / "emoji-mini.safetensors"
SMALL = {"prompt": "a red apple", "steps": 2, "width": 64, "height": 64, "sampler_name": "Euler"}
TOLERANCE = 0.10
SAMPLE_SECONDS, PAUSE_SECONDS = 5.0, 0.05
INTERRUPTED = 409
"""What a job without any picture answers when it was interrupted; one load interrupts the others' jobs."""
PARTS = ("memory", "files", "threads")


@dataclass(frozen=True)
class Sample:
    """The server's process at one moment; `memory` in MB."""

    minutes: float
    memory: float
    files: int
    threads: int


@dataclass
class Load:
    """What the loads share: the server's address, when to stop, and what has been counted."""

    url: str
    over: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def ask(self, path: str, body: Any = None, method: str = "") -> bytes:
        """The content of the answer. Raises OSError where none below 400 comes, or that of an interrupted job."""
        data, kind = (body, "multipart/form-data; boundary=soak") if isinstance(body, bytes) else (
            None if body is None else json.dumps(body).encode(), "application/json")
        request = urllib.request.Request(self.url + path, data, {"content-type": kind}, method=method or None)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            if error.code != INTERRUPTED:
                raise
            content = error.read()
            self.done["interrupted"] += 1
        self.done[re.sub(r"/[0-9a-f]{32}|/\d+|[?].*", "", path)] += 1
        return content

    def read(self, path: str, body: Any = None) -> Any:
        """The answer, which is JSON."""
        return json.loads(self.ask(path, body))

    def repeat(self, turn: Callable[[int], None]) -> None:
        """Calls `turn` with 0, 1, 2, ... until it is over."""
        number = 0
        while not self.over.is_set():
            try:
                turn(number)
            except Exception as error:  # a client's library may raise anything; the next turn is asked for anyway
                if not self.over.is_set():
                    self.failures.append(f"{turn.__name__} {number}: {type(error).__name__}: {error}"[:300])
                    print(self.failures[-1], flush=True)
                    self.over.wait(1)
            number += 1
            self.over.wait(PAUSE_SECONDS)


def main() -> int:
    """0 when everything stayed flat and every answer came."""
    parser = argparse.ArgumentParser(description="Mixed load for a time.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--chromium", default="")
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks" / "soak.png")
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        process, url = started(Path(folder), arguments.flags)
        try:
            load, samples = soak(process.pid, url, arguments.minutes, arguments.chromium)
        finally:
            process.terminate()
            process.wait(30)
    plot(samples, arguments.out)
    shares = {name: flatness(samples, name) for name in PARTS}
    print(f"{samples[-1].minutes:.1f} minutes, {load.done.total()} requests and pages, {len(load.failures)} failures")
    print("Last third against the middle third: " + ", ".join(f"{name} {share:+.1%}" for name, share in shares.items()))
    for share in (0.05, 0.25, 0.5, 0.75, 1.0):
        one = samples[round(share * (len(samples) - 1))]
        print(f"minute {one.minutes:4.1f}: {one.memory:.0f} MB, {one.files} files, {one.threads} threads")
    print(dict(sorted(load.done.items())))
    return 1 if load.failures or any(abs(share) > TOLERANCE for share in shares.values()) else 0


def started(folder: Path, flags: list[str]) -> tuple[subprocess.Popen[str], str]:
    """The program with three checkpoints of its own in `folder`, and its address."""
    models = folder / "models" / "Stable-diffusion"
    models.mkdir(parents=True)
    for name in ("first", "second", "third"):
        shutil.copyfile(CHECKPOINT, models / f"{name}.safetensors")
    process = subprocess.Popen([sys.executable, str(PROJECT / "app.py"), "--port", "0", "--data-dir", str(folder),
                                "--device", "cpu", "--model-cache", "150MB", *flags],
                               stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return process, found[0]
    raise SystemExit("The program did not start.")


def soak(pid: int, url: str, minutes: float, chromium: str) -> tuple[Load, list[Sample]]:
    """All loads for so long; what they counted, and a sample every few seconds."""
    load = Load(url)
    unknown = unasked(load)
    assert not unknown, f"no load asks {unknown}"
    turns = [pictures(load), questions(load), *([pages(chromium)(load)] if chromium else [])]
    threads = [threading.Thread(target=load.repeat, args=(turn,)) for turn in turns]
    began, samples = time.monotonic(), []
    for thread in threads:
        thread.start()
    try:
        while (passed := (time.monotonic() - began) / 60) < minutes:
            samples.append(sample(pid, passed))
            time.sleep(SAMPLE_SECONDS)
    finally:
        load.over.set()
        for thread in threads:
            thread.join(300)
    return load, samples


# --- pictures

def pictures(load: Load) -> Callable[[int], None]:
    """One picture of each kind, another checkpoint now and then."""
    photo, mask = picture("RGB"), picture("L")
    checkpoints = [model["title"] for model in load.read("/sdapi/v1/sd-models")]
    program = Client(load.url, verbose=False)

    def turn(number: int) -> None:
        checkpoint = checkpoints[number // 3 % len(checkpoints)]
        for path, body in asked_pictures(number, checkpoint, photo, mask):
            load.ask(path, body)
        job = load.read("/v1/jobs", {"request": SMALL})["id"]
        load.ask(f"/v1/jobs/{job}/events")
        load.ask(f"/v1/jobs/{job}")
        load.ask(f"/v1/jobs/{job}", method="DELETE")
        recorded = load.read("/sdapi/v1/txt2img", SMALL | {"record_steps": True})["step_recordings"][0]
        for part in ("", "/file", "/cell?x=1&y=1", "/0/x0.png", "/animation.webp", "/strip.png"):
            load.ask(f"/v1/steps/{recorded}{part}")
        program.predict(prompt="a dog", width=64, height=64, steps=2, api_name="/txt2img")
        load.done["gradio_client"] += 1
        load.done["checkpoint changes"] += number % 3 == 0

    return turn


def asked_pictures(number: int, checkpoint: str, photo: str, mask: str) -> Iterator[tuple[str, Any]]:
    """(path, body) of the requests of a turn."""
    if number % 3 == 0:
        yield "/sdapi/v1/options", {"sd_model_checkpoint": checkpoint}
    if number % 20 == 19:
        yield "/sdapi/v1/unload-checkpoint", {}
        yield "/sdapi/v1/reload-checkpoint", {}
    yield "/sdapi/v1/txt2img", SMALL | {"save_images": True, "prompt": f"picture {number}",
                                        "batch_size": 1 + number % 3}
    yield "/sdapi/v1/txt2img", SMALL | {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.5,
                                        "script_name": "prompt matrix", "prompt": "an apple|red"}
    yield "/sdapi/v1/img2img", SMALL | {"init_images": [photo], "width": 64 + 64 * (number % 2)}
    yield "/sdapi/v1/img2img", SMALL | {"init_images": [photo], "mask": mask, "inpaint_full_res": bool(number % 2),
                                        "sampler_name": "DDIM", "save_images": True}
    yield "/sdapi/v1/extra-single-image", {"image": photo, "upscaler_1": "Lanczos"}
    yield "/sdapi/v1/extra-batch-images", {"imageList": [{"data": photo, "name": "a.png"}], "upscaler_1": "Nearest"}
    yield "/sdapi/v1/remove", {"image": photo, "mask": mask, "save_images": bool(number % 2)}
    yield "/controlnet/detect", {"controlnet_module": "canny", "controlnet_input_images": [photo]}
    yield "/v1/images/generations", {"prompt": "a dog", "size": "64x64", "steps": 2}
    yield "/v1/images/edits", form({"prompt": "a cat", "size": "64x64", "steps": "2"}, base64.b64decode(photo))


# --- everything else that the server answers

LISTS = [f"/sdapi/v1/{name}" for name in (
    "options", "samplers", "schedulers", "upscalers", "face-restorers", "latent-upscale-modes", "prompt-styles",
    "sd-models", "sd-vae", "cmd-flags", "memory", "progress", "hypernetworks", "realesrgan-models", "embeddings",
    "loras", "scripts", "script-info", "extensions")] + [
    *(f"/controlnet/{name}" for name in ("version", "model_list", "module_list", "control_types", "settings")),
    "/internal/ping", "/internal/pending-tasks", "/internal/sysinfo", "/v1/models", "/v1/jobs", "/docs",
    "/openapi.json", "/", "/config", "/theme.css"]
ORDERS = [f"/sdapi/v1/{name}" for name in ("refresh-checkpoints", "refresh-vae", "refresh-loras", "refresh-embeddings",
                                           "skip", "interrupt")]
ELSEWHERE = ("/sdapi/v1/interrogate", "/controlnet/txt2img", "/controlnet/img2img")
"""Refused here with a sentence, since there is no model that describes pictures, or old names of paths that are asked.
"""


def questions(load: Load) -> Callable[[int], None]:
    """Every list, the history with its pictures, and what a waiting client asks."""
    photo = picture("RGB")
    view = next(one["id"] for one in load.read("/config")["components"]
                if one["props"].get("elem_id") == "history_view")
    session = uuid.uuid4().hex

    def history(function: str, question: dict[str, Any]) -> Any:
        return load.read("/gradio_api/component_server", {"data": question, "component_id": view, "fn_name": function,
                                                          "session_hash": session})

    def turn(number: int) -> None:
        load.ask(LISTS[number % len(LISTS)])
        load.ask("/sdapi/v1/progress?skip_current_image=false")
        load.ask("/internal/progress", {"id_task": "soak", "live_preview": True})
        if number % 10 == 0:
            load.ask(ORDERS[number // 10 % len(ORDERS)], {})
            load.ask("/sdapi/v1/png-info", {"image": photo})
        history("look", {})
        words = ("", "apple", f"picture {number % 50}", "dog cat")[number % 4]
        found = history("find", {"limit": 30, "filter": {"words": words, "sampler": ("", "Euler")[number % 2]}})
        for one in found["pictures"][:5]:
            load.ask(one["thumbnail"])
        for one in found["pictures"][:1]:
            load.ask(one["url"])
            history("details", {"ids": [one["id"]]})
            history("like", {"id": one["id"], "favourite": number % 2 == 0})

    return turn


def unasked(load: Load) -> set[str]:
    """Endpoints of the API that no load asks."""
    asked = {*LISTS, *ORDERS, *ELSEWHERE, *(path for path, _ in asked_pictures(0, "", "", "")),
             *(path for path, _ in asked_pictures(19, "", "", "")), "/internal/progress", "/sdapi/v1/png-info",
             "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/events"}
    return {path for path in set(load.read("/openapi.json")["paths"]) - asked if not path.startswith("/v1/steps/")}


# --- pages

def pages(chromium: str) -> Callable[[Load], Callable[[int], None]]:
    """One page after the other: a picture is made on it, and the history looked at."""
    def connected(load: Load) -> Callable[[int], None]:
        def page(number: int) -> None:
            from playwright.sync_api import sync_playwright

            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                shown = browser.new_page(viewport={"width": 1280, "height": 900})
                shown.set_default_timeout(300_000)
                shown.goto(load.url)
                shown.wait_for_selector("html[data-ready]")
                shown.get_by_role("tab", name="txt2img", exact=True).click()
                shown.locator("#txt2img_generate").click()
                shown.wait_for_selector("#txt2img_gallery img")
                shown.get_by_role("tab", name="History", exact=True).click()
                shown.wait_for_selector("#history_view img")
                browser.close()
            load.done["pages in Chromium"] += 1
            load.over.wait(20)

        return page

    return connected


# --- what is sent and measured

def picture(mode: str) -> str:
    """A small picture, or with "L" a mask, in base64."""
    image = Image.new(mode, (64, 64), 0 if mode == "L" else "teal")
    ImageDraw.Draw(image).rectangle((16, 16, 40, 40), fill=255 if mode == "L" else "orange")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def form(fields: dict[str, str], image: bytes) -> bytes:
    """multipart/form-data with the boundary "soak"."""
    parts = [f'--soak\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]
    head = b'--soak\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return b"".join(parts) + head + image + b"\r\n--soak--\r\n"


def sample(pid: int, minutes: float) -> Sample:
    """The process now."""
    process = psutil.Process(pid)
    files = process.num_fds() if hasattr(process, "num_fds") else len(process.open_files())
    return Sample(minutes, process.memory_info().rss / 2**20, files, process.num_threads())


def flatness(samples: list[Sample], name: str) -> float:
    """How much more the last third has than the middle third, as a share."""
    third = max(len(samples) // 3, 1)
    values = [float(getattr(one, name)) for one in samples]
    middle = statistics.median(values[third:2 * third] or values)
    return statistics.median(values[-third:]) / middle - 1


def plot(samples: list[Sample], out: Path) -> None:
    """Three curves, each from 0 to a little over its largest value."""
    width, height, margin = 900, 200, 40
    image = Image.new("RGB", (width, 3 * height), "white")
    draw = ImageDraw.Draw(image)
    end = max(samples[-1].minutes, 1e-9)
    for number, (name, colour) in enumerate(zip(PARTS, ("navy", "green", "maroon"), strict=True)):
        values = [float(getattr(one, name)) for one in samples]
        top, bottom, most = number * height + margin, (number + 1) * height - margin, max(values) * 1.1
        draw.rectangle((margin, top, width - margin, bottom), outline="grey")
        points = [(margin + (width - 2 * margin) * one.minutes / end, bottom - (bottom - top) * value / most)
                  for one, value in zip(samples, values, strict=True)]
        draw.line(points, fill=colour, width=2)
        unit = " MB" if name == "memory" else ""
        draw.text((margin, top - 16), f"{name}{unit}: {min(values):.0f} to {max(values):.0f} in {end:.1f} minutes",
                  fill="black")
    image.save(out)


if __name__ == "__main__":
    sys.exit(main())
