"""The program as a person starts it, in a process that may speak to nobody but this computer."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from make_tiny import make_tiny
from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PROJECT = Path(__file__).resolve().parent.parent
SECONDS = 180

# Every connection and every look-up of a name goes through these audit events, whatever library makes it. What is
# refused is written down as well, because a library may swallow the refusal.
GUARD = """
import ipaddress, runpy, sys

refusals, app = sys.argv[1], sys.argv[2]

def is_here(host):
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False

def refuse(what):
    with open(refusals, "a") as file:
        file.write(what + "\\n")
    raise PermissionError(what)

def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and not is_here(address[0]):
            refuse(f"{event} {address}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and not is_here(arguments[0]):
        refuse(f"{event} {arguments[0]}")

sys.addaudithook(guard)
sys.argv = sys.argv[2:]
sys.path.insert(0, app.rpartition("/")[0])
runpy.run_path(app, run_name="__main__")
"""


@dataclass
class Server:
    """The running program, and where it writes down whom it wanted to speak to."""

    url: str
    process: subprocess.Popen[str]
    refusals: Path
    data_dir: Path

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=SECONDS)

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        return requests.post(self.url + path, json=body, timeout=SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """app.py on a free port, with one small checkpoint, and none of the settings that tests make for libraries."""
    data_dir = tmp_path_factory.mktemp("data")
    refusals = data_dir / "refusals.txt"
    checkpoints = data_dir / "models" / "Stable-diffusion"
    checkpoints.mkdir(parents=True)
    make_tiny("tiny-sd15", checkpoints / "tiny-sd15.safetensors")
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("GRADIO_", "HF_", "COMMANDLINE_ARGS"))}
    command = [sys.executable, "-c", GUARD, str(refusals), str(PROJECT / "app.py"), "--port", "0",
               "--data-dir", str(data_dir)]
    with (data_dir / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                                   cwd=data_dir)
    assert process.stdout is not None
    line = process.stdout.readline()  # the port is open from here on
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    if found is None:
        process.kill()
        pytest.fail(f"The program did not start: {(data_dir / 'log.txt').read_text()}")
    server = Server(found[0], process, refusals, data_dir)
    yield server
    if process.poll() is None:
        process.kill()
    process.wait()
    process.stdout.close()


def test_the_guard_refuses_the_world_and_allows_this_computer(tmp_path: Path) -> None:
    attempts = tmp_path / "attempts.py"
    attempts.write_text("""
import socket
for attempt in (lambda: socket.socket().connect(("192.0.2.1", 80)), lambda: socket.getaddrinfo("example.org", 80)):
    try:
        attempt()
    except PermissionError:
        pass
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname(), 5).close()
""")
    refusals = tmp_path / "refusals.txt"
    subprocess.run([sys.executable, "-c", GUARD, str(refusals), str(attempts)], check=True, timeout=SECONDS)
    assert [line.split()[0] for line in refusals.read_text().splitlines()] == ["socket.connect", "socket.getaddrinfo"]


def test_the_page_is_served_and_names_no_other_host(server: Server) -> None:
    page = server.get("/")
    assert page.status_code == 200
    assert "Inpaint WebUI" in page.text
    loaded = re.findall(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["'](https?:)?//""", page.text)
    assert loaded == []
    config = server.get("/config").json()
    assert config["components"]


def test_a_browser_shows_the_page_and_asks_no_other_host(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:  # Playwright wants a thread of its own: other tests use this one's
        assert pool.submit(look_at_the_page, server).result() == []


def look_at_the_page(server: Server) -> list[str]:
    """Opens the page in Chromium; its errors and its requests to other hosts."""
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith((server.url, "blob:", "data:"))
                else problems.append(request.url))
        page.goto(server.url)
        page.get_by_role("tab", name="txt2img", exact=True).click(timeout=SECONDS * 1000)
        page.get_by_role("button", name="Generate", exact=True).locator("visible=true").wait_for(timeout=SECONDS * 1000)
        browser.close()
    return problems


def test_a_picture_is_made_and_saved(server: Server) -> None:
    body = {"prompt": "a dog", "seed": 1, "steps": 2, "width": 64, "height": 64, "sampler_name": "DDIM",
            "save_images": True}
    answer = server.post("/sdapi/v1/txt2img", body)
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]))) as image:
        assert image.size == (64, 64)
    assert json.loads(answer.json()["info"])["sd_model_name"] == "tiny-sd15"
    assert [path.name for path in (server.data_dir / "outputs").rglob("*.png")] == ["00000-1.png"]


def test_a_request_for_another_name_is_turned_away(server: Server) -> None:
    assert requests.get(server.url, headers={"Host": "evil.example"}, timeout=SECONDS).status_code == 421


def test_a_body_over_the_limit_gets_an_answer(server: Server) -> None:
    answer = requests.post(f"{server.url}/sdapi/v1/txt2img", data=bytes(65 * 2**20), timeout=SECONDS,
                           headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert server.get("/sdapi/v1/progress").status_code == 200


def test_it_stops_when_it_is_told_to_and_has_asked_nobody(server: Server) -> None:
    """In the middle of a job of many minutes: who waits for it is told, and what is finished is whole."""
    outputs = server.data_dir / "outputs"
    before = len(list(outputs.rglob("*.png")))
    with ThreadPoolExecutor() as pool:
        body = {"prompt": "dog", "width": 256, "height": 256, "steps": 20, "n_iter": 100, "save_images": True}
        waiting = [pool.submit(server.post, "/sdapi/v1/txt2img", body) for _ in range(2)]
        while len(list(outputs.rglob("*.png"))) < before + 2:
            assert not waiting[0].done()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert [answer.result().status_code for answer in waiting] == [503, 503]
    for file in outputs.rglob("*.png"):
        with Image.open(file) as image:
            image.load()
    log = (server.data_dir / "log.txt").read_text()
    assert "Traceback" not in log, log
    assert not server.refusals.exists(), server.refusals.read_text()


HELD = """
import sys
import app

listen, mount_page = app.listen, app.mount_page

def listen_and_tell(settings):
    listener = listen(settings)
    print(listener.getsockname()[1], flush=True)
    return listener

def mount_when_told(*arguments):
    sys.stdin.readline()
    return mount_page(*arguments)

app.listen, app.mount_page = listen_and_tell, mount_when_told
app.command()
"""
"""The program, which tells its port and does not go on loading before it is told to."""


def test_a_first_page_is_there_while_it_loads_and_becomes_the_real_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HELD, "--data-dir", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(see_it_become_the_real_one, process).result()
    finally:
        process.kill()
        process.communicate()


def see_it_become_the_real_one(process: subprocess.Popen[str]) -> None:
    """Asks before it is ready, in a browser and as a program."""
    assert process.stdin
    assert process.stdout
    url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
    with sync_playwright() as playwright, ThreadPoolExecutor(1) as pool:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page()
        answer = page.goto(url, timeout=SECONDS * 1000)
        assert answer
        assert answer.status == 503
        assert page.get_by_role("status").inner_text() == "The program is starting…"
        asked = pool.submit(requests.get, f"{url}/sdapi/v1/progress", timeout=SECONDS)
        process.stdin.write("go on\n")
        process.stdin.flush()
        page.get_by_role("tab", name="txt2img", exact=True).wait_for(timeout=SECONDS * 1000)
        assert asked.result(SECONDS).status_code == 200
        browser.close()


def test_a_port_that_is_taken_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run([sys.executable, str(PROJECT / "app.py"), "--nowebui", "--data-dir", str(tmp_path),
                               "--port", str(taken.getsockname()[1])], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert done.stderr.startswith("app.py: Port ")
    assert len(done.stderr.splitlines()) == 1
