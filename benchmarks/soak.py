"""Mixed load on a running server for a time; its memory, open files and threads meanwhile, as a plot and in words.

    python -m benchmarks.soak --minutes 60 [--chromium /usr/bin/chromium] [--out FILE.png] [-- flags of app.py]

Each round asks for a picture of each kind, the lists, extras, the history's thumbnails, a job with its events and
another checkpoint, where there are several; with a browser it opens the page too. Flat means that the last third of
the samples lies within 10 % of the middle third.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from PIL import Image, ImageDraw

PROJECT = Path(__file__).resolve().parent.parent
SMALL = {"prompt": "a dog", "steps": 2, "width": 64, "height": 64, "sampler_name": "Euler"}
TOLERANCE = 0.10


@dataclass(frozen=True)
class Sample:
    """The server's process at one moment; `memory` in MB."""

    minutes: float
    memory: float
    files: int
    threads: int


def main() -> int:
    """0 when everything stayed flat and every answer came."""
    parser = argparse.ArgumentParser(description="Mixed load for a time.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--chromium", default="")
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks" / "soak.png")
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    process, url = started(arguments.flags)
    try:
        samples, rounds, failures = soak(process, url, arguments.minutes, arguments.chromium)
    finally:
        process.terminate()
        process.wait(30)
    plot(samples, arguments.out)
    flat = {name: flatness(samples, name) for name in ("memory", "files", "threads")}
    print(f"{rounds} rounds in {samples[-1].minutes:.1f} minutes, {failures} failures; "
          + ", ".join(f"{name} {share:+.1%}" for name, share in flat.items()))
    return 1 if failures or any(abs(share) > TOLERANCE for share in flat.values()) else 0


def started(flags: list[str]) -> tuple[subprocess.Popen[str], str]:
    """The program, and its address."""
    process = subprocess.Popen([sys.executable, str(PROJECT / "app.py"), "--port", "0", *flags],
                               stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return process, found[0]
    raise SystemExit("The program did not start.")


def soak(process: subprocess.Popen[str], url: str, minutes: float, chromium: str) -> tuple[list[Sample], int, int]:
    """Samples, rounds and failures."""
    began, samples, rounds, failures = time.monotonic(), [], 0, 0
    checkpoints = [model["title"] for model in ask(url, "/sdapi/v1/sd-models")]
    while (passed := (time.monotonic() - began) / 60) < minutes:
        for doing in one_round(url, checkpoints[rounds % len(checkpoints)] if checkpoints else ""):
            try:
                ask(url, *doing)
            except (OSError, ValueError) as error:
                failures += 1
                print(f"{doing[0]}: {error}")
        if chromium and rounds % 10 == 0:
            subprocess.run([chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
                            "--dump-dom", url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
        rounds += 1
        samples.append(sample(process.pid, passed))
    return samples, rounds, failures


def one_round(url: str, checkpoint: str) -> list[tuple[str, Any]]:
    """(path, body) of each request of a round."""
    photo, mask = picture("RGB"), picture("L")
    masked = {**SMALL, "init_images": [photo], "mask": mask}
    listed = ("options", "samplers", "sd-models", "upscalers", "progress", "memory", "script-info", "prompt-styles")
    return [("/sdapi/v1/txt2img", {**SMALL, "save_images": True}), ("/sdapi/v1/img2img", masked),
            ("/sdapi/v1/extra-single-image", {"image": photo, "upscaler_1": "Lanczos"}),
            ("/sdapi/v1/png-info", {"image": photo}), ("/v1/images/generations", {"prompt": "a dog", "size": "64x64",
                                                                                  "steps": 2}),
            ("/v1/jobs", {"request": SMALL}), *((f"/sdapi/v1/{name}", None) for name in listed),
            ("/internal/sysinfo", None), ("/history/thumbnails/1", b""),
            *([("/sdapi/v1/options", {"sd_model_checkpoint": checkpoint})] if checkpoint else [])]


def ask(url: str, path: str, body: Any = None) -> Any:
    """The answer. Raises OSError for a status of 500 and more; b"" as a body asks for bytes."""
    data = json.dumps(body).encode() if isinstance(body, dict) else None
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
        return None
    return content if body == b"" else json.loads(content or b"null")


def picture(mode: str) -> str:
    """A small picture, or with "L" a mask, in base64."""
    image = Image.new(mode, (64, 64), 0 if mode == "L" else "teal")
    ImageDraw.Draw(image).rectangle((16, 16, 40, 40), fill=255 if mode == "L" else "orange")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


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
    for number, (name, colour) in enumerate((("memory", "navy"), ("files", "green"), ("threads", "maroon"))):
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
