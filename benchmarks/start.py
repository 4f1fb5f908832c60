"""From starting the process to the first answer, against what `import gradio` alone takes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import Row, interleaved, medians

PROJECT = Path(__file__).parent.parent
PATIENCE = 120  # seconds until a server that does not answer counts as broken


def run(rounds: int) -> list[Row]:
    """The page against `import gradio`, and the API alone."""
    found = medians(interleaved({
        "gradio": lambda: [_python("import gradio")],
        "first": lambda: [_first_answer("/", early=True)],
        "page": lambda: [_first_answer("/")],
        "api": lambda: [_first_answer("/sdapi/v1/progress", "--nowebui")],
    }, rounds))
    return [Row("Process start to the page that says so", found["first"], 1.0, "a limit", "s", 1.0),
            Row("Process start to first page", found["page"], found["gradio"], "import gradio", "s"),
            Row("Process start to first API answer (--nowebui)", found["api"], found["gradio"], "import gradio", "s")]


def _python(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
    return time.perf_counter() - began


def _first_answer(path: str, *flags: str, early: bool = False) -> float:
    """Seconds until GET `path` gives 200 on a server with an empty data folder; `early`: until it gives anything."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with server(path, "--data-dir", folder, *flags, early=early):
            return time.perf_counter() - began


@contextlib.contextmanager
def server(path: str, *flags: str, early: bool = False) -> Iterator[str]:
    """The address of an app with these flags, which has answered GET `path` with 200; it ends with the context. With
    `early` any answer will do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    app = subprocess.Popen([sys.executable, "app.py", "--port", str(port), *flags], cwd=PROJECT,
                           stdout=subprocess.DEVNULL, env=os.environ | {"no_proxy": "127.0.0.1"})
    address = f"http://127.0.0.1:{port}"
    try:
        while not _answers(address + path, early=early):
            if app.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"app.py {' '.join(flags)} gave no answer at {path}")
            time.sleep(0.02)
        yield address
    finally:
        app.terminate()
        app.wait()


def _answers(url: str, *, early: bool) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
            return bool(answer.status == 200 and answer.read(1))
    except urllib.error.HTTPError:
        return early
    except (urllib.error.URLError, ConnectionError):
        return False
