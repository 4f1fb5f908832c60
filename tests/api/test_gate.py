"""The gate: whose requests come through, and what every answer carries."""

from __future__ import annotations

import base64
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from modules.api.gate import NAMES_LOGGED, Gate
from modules.api.passwords import FORGET_SECONDS, FREE_TRIES, Passwords
from modules.errors import OUR_FAULT, InvalidInput
from modules.settings import Settings


def client_of(**flags: Any) -> TestClient:
    """A client of a small application behind the gate."""
    app = FastAPI()

    @app.get("/{path:path}")
    async def read(path: str) -> str:
        return path

    @app.post("/{path:path}")
    async def write(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(Gate, settings=Settings(**flags))
    return TestClient(app, base_url="http://127.0.0.1:7860")


@pytest.mark.parametrize("host", [
    "localhost", "localhost:7860", "127.0.0.1", "127.0.0.1:99", "[::1]:7860", "LOCALHOST"])
def test_our_own_names_come_through(host: str) -> None:
    assert client_of().get("/x", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example", "",
    "evil@127.0.0.1.nip.io",
    "192.168.1.5", "host.docker.internal", "[::1", "localhost evil"])
def test_foreign_host_names_get_421(host: str) -> None:
    answer = client_of().get("/x", headers={"host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["detail"]


def test_a_name_can_be_allowed() -> None:
    client = client_of(allow_host=("My.Example",))
    assert client.get("/x", headers={"host": "my.example:8080"}).status_code == 200
    assert client.get("/x", headers={"host": "other.example"}).status_code == 421


def test_a_listening_server_answers_to_addresses_but_not_to_any_name() -> None:
    client = client_of(listen=True)
    for host in ("192.168.1.5:7860", socket.gethostname(), "nas:7860", "stable_diffusion", "host.docker.internal:7860"):
        assert client.get("/x", headers={"host": host}).status_code == 200
    for host in ("evil.example", "host.docker.internal.evil.example", "a b", ".", ""):
        assert client.get("/x", headers={"host": host}).status_code == 421
    assert "--allow-host evil.example" in client.get("/x", headers={"host": "evil.example:80"}).json()["detail"]


@pytest.mark.parametrize(("path", "seen"), [
    ("/sdapi/v1/options/", "sdapi/v1/options"), ("//sdapi/v1/options", "sdapi/v1/options"),
    ("//sdapi/v1/options//", "sdapi/v1/options"), ("/internal/ping/", "internal/ping"), ("/v1/models/", "v1/models"),
    ("/other/", "other/"), ("/sdapi/v1/options", "sdapi/v1/options")])
def test_slashes_too_many_change_nothing_for_programs(path: str, seen: str) -> None:
    assert client_of().get(f"http://127.0.0.1:7860{path}").json() == seen


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 200), ({"origin": "http://127.0.0.1:7860"}, 200), ({"origin": "https://127.0.0.1:7860"}, 200),
    ({"sec-fetch-site": "same-origin"}, 200), ({"sec-fetch-site": "none"}, 200),
    ({"origin": "http://evil.example"}, 403), ({"origin": "http://127.0.0.1:8080"}, 403),
    ({"origin": "http://localhost:7860"}, 403), ({"origin": "http://[::1"}, 403),
    ({"origin": "null"}, 403), ({"origin": ""}, 403),
    ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-site"}, 403)])
def test_other_origins_may_look_but_not_change(headers: dict[str, str], status: int) -> None:
    assert client_of().post("/x", headers=headers).status_code == status
    assert client_of().get("/x", headers=headers).status_code == 200


PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,authorization"}


@pytest.mark.parametrize("origin", ["https://painter.example", "null", "app://obsidian.md"])
def test_a_named_site_may_use_the_api(origin: str) -> None:
    client = client_of(cors_allow_origins=("https://painter.example", "null", "app://obsidian.md"))
    asked = client.options("/x", headers={"origin": origin, "sec-fetch-site": "cross-site", **PREFLIGHT})
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-methods"] == "POST"
    assert asked.headers["access-control-allow-headers"] == "content-type,authorization"
    sent = client.post("/x", headers={"origin": origin, "sec-fetch-site": "cross-site"})
    assert sent.status_code == 200
    for answer in (asked, sent):
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origins", [(), ("https://painter.example",)])
def test_sites_that_are_not_named_may_not_even_ask(origins: tuple[str, ...]) -> None:
    client = client_of(cors_allow_origins=origins)
    for answer in (client.options("/x", headers={"origin": "https://evil.example", **PREFLIGHT}),
                   client.post("/x", headers={"origin": "https://evil.example"})):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_a_named_site_needs_the_password_but_for_asking() -> None:
    client = client_of(cors_allow_origins=("https://painter.example",), api_auth=(("ann", "one"),))
    token = base64.b64encode(b"ann:one").decode()
    origin = {"origin": "https://painter.example"}
    assert client.options("/x", headers={**origin, **PREFLIGHT}).status_code == 204, "these come without a password"
    assert client.post("/x", headers=origin).status_code == 401
    assert client.post("/x", headers={**origin, "authorization": f"Basic {token}"}).status_code == 200


def test_any_site_may_be_let_in_but_not_where_a_password_is_set() -> None:
    """A page elsewhere could act with the password that the browser remembers, without reading the answer."""
    client = client_of(cors_allow_origins=("*",))
    assert client.post("/x", headers={"origin": "https://painter.example"}).status_code == 200
    with pytest.raises(InvalidInput, match="name the sites"):
        client_of(cors_allow_origins=("*",), api_auth=(("ann", "one"),))


@pytest.mark.parametrize("origins", [(), ("https://painter.example",)])
def test_the_application_itself_lets_nobody_in(origins: tuple[str, ...]) -> None:
    """Gradio answers any origin, with passwords, when it is asked by an address or a name that is not localhost."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("secret", headers={"access-control-allow-origin": "https://evil.example",
                                          "access-control-allow-credentials": "true"})(scope, receive, send)

    client = TestClient(Gate(app, Settings(listen=True, cors_allow_origins=origins)), base_url="http://192.168.1.5:7860")
    answer = client.get("/config", headers={"origin": "https://evil.example"})
    assert answer.text == "secret", "whoever asks without a browser gets it"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_with_a_password_any_name_will_do() -> None:
    """A container's name, say. A web page under a foreign name does not have the password."""
    client = client_of(api_auth=(("ann", "one"),), listen=True)
    token = base64.b64encode(b"ann:one").decode()
    headers = {"host": "stable-diffusion:7860"}
    assert client.post("/x", headers={**headers, "authorization": f"Basic {token}"}).status_code == 200
    assert client.get("/x", headers=headers).status_code == 401


def test_refused_names_are_logged_once_and_not_without_end(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of()
    for number in (*range(100), 0):
        client.get("/x", headers={"host": f"h{number}.example"})
    assert len(caplog.messages) == NAMES_LOGGED
    assert "h0.example" in caplog.messages[0]


PAIRS = {"api_auth": (("ann", "one"), ("bob", "two:three")), "gradio_auth": (("cy", "läng"),)}


@pytest.mark.parametrize(("user", "password"), [("ann", "one"), ("bob", "two:three"), ("cy", "läng")])
def test_any_of_the_passwords_opens_everything(user: str, password: str) -> None:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    answer = client_of(**PAIRS).get("/x", headers={"authorization": f"Basic {token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", [
    "", "Basic", "Basic ", "Basic !!!", "Digest YW5uOm9uZQ==", "Basic " + base64.b64encode(b"ann:two").decode(),
    "Basic " + base64.b64encode(b"ann:one ").decode(), "Basic " + base64.b64encode(b"ann").decode(),
    "Basic " + base64.b64encode(b":").decode(), "Basic " + base64.b64encode(b"cy:l\xe4ng").decode()])
def test_without_the_right_password_nothing_opens(header: str) -> None:
    answer = client_of(**PAIRS).get("/config", headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_without_passwords_set_none_is_asked_for() -> None:
    assert client_of().get("/x").status_code == 200


def test_every_answer_has_the_security_headers() -> None:
    client = client_of()
    for answer in (client.get("/x"), client.get("/x", headers={"host": "evil.example"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["referrer-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "http" not in policy


def test_files_are_shown_but_never_run() -> None:
    assert "sandbox" in client_of().get("/gradio_api/file=/outputs/x.svg").headers["content-security-policy"]
    assert "sandbox" not in client_of().get("/").headers["content-security-policy"]


@pytest.mark.parametrize(("name", "status"), [
    ("day/00001.png", 200), (".history.sqlite3", 404), (".history.sqlite3-wal", 404), (".trash/a.png", 404),
    ("day/../.trash/a.png", 404), ("day/.a.host.1-1.part", 404), ("link", 404), ("../.elsewhere/a.png", 200)])
@pytest.mark.parametrize("prefix", ["/gradio_api/file=", "/gradio_api/file/", "/file="])
def test_of_the_outputs_only_what_is_not_hidden_is_served(tmp_path: Path, prefix: str, name: str, status: int) -> None:
    """Gradio is told to serve the folder of the outputs, and all that is in it."""
    outputs = tmp_path / ".data" / "outputs"  # a hidden folder above it means nothing
    outputs.mkdir(parents=True)
    (outputs / "link").symlink_to(outputs / ".history.sqlite3")
    client = client_of(outputs_dir=outputs)
    path = str(outputs / name).replace(".", "%2E")
    assert client.get(prefix + path.removeprefix("/" if prefix.endswith("/") else "")).status_code == status


MB = 2**20


def chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(MB)


def test_bodies_up_to_the_limit_come_through() -> None:
    client = client_of(max_body_mb=2)
    assert client.post("/x", content=bytes(2 * MB)).json() == 2 * MB
    assert client.post("/x", content=chunks(2)).json() == 2 * MB


@pytest.mark.parametrize("content", [bytes(2 * MB + 1), chunks(3), chunks(40)], ids=["length", "chunked", "long"])
def test_larger_bodies_get_413_with_or_without_a_length(content: object) -> None:
    answer = client_of(max_body_mb=2).post("/x", content=content)
    assert answer.status_code == 413
    assert "2 MB" in answer.json()["detail"]


def test_an_application_that_ignores_the_missing_rest_still_gets_413() -> None:
    app = FastAPI()

    @app.post("/")
    async def write(request: Request) -> str:
        try:
            await request.body()
        except Exception:
            return "never mind"
        return "all"

    app.add_middleware(Gate, settings=Settings(max_body_mb=1))
    assert TestClient(app, base_url="http://localhost").post("/", content=chunks(2)).status_code == 413


@pytest.mark.parametrize(("error", "status"), [
    (KeyError("fn_index"), 422), (TypeError("x"), 422), (OSError("no space"), 500), (MemoryError(), 500),
    (OSError(errno.ENAMETOOLONG, "File name too long"), 404)])
def test_what_a_mounted_application_cannot_read_is_the_clients_fault(error: Exception, status: int,
                                                                     caplog: pytest.LogCaptureFixture) -> None:
    inner, outer = FastAPI(), FastAPI()

    @inner.post("/x")
    async def fail() -> None:
        raise error

    @outer.post("/ours")
    async def fail_too() -> None:
        raise error

    outer.mount("/", inner)
    outer.add_middleware(Gate, settings=Settings())
    client = TestClient(outer, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)
    assert client.post("/x").status_code == status
    assert len([text for text in caplog.messages if "not understood" in text]) == (status < 500)
    assert client.post("/ours").status_code == 500, "an error of ours stays one"


@pytest.mark.parametrize(("path", "told", "status"), [
    ("/gradio_api/run/x", None, 422), ("/gradio_api/run/x", "width must be at least 64.", 422),
    ("/gradio_api/run/x", OUR_FAULT, 500), ("/other", None, 500)])
def test_an_event_that_gradio_answers_with_500_is_the_clients_fault(path: str, told: str | None, status: int) -> None:
    """Its "run" does so for whatever is wrong with an event, and does not raise again."""
    outer = FastAPI()

    @outer.post(path)
    async def fail() -> JSONResponse:
        return JSONResponse({"error": told}, 500)

    outer.add_middleware(Gate, settings=Settings())
    answer = TestClient(outer, base_url="http://127.0.0.1:7860").post(path)
    assert (answer.status_code, answer.json()) == (status, {"error": told})


def test_the_path_of_a_proxy_is_taken_off() -> None:
    client = client_of(subpath="sd")
    assert client.get("/sd/sdapi/v1/options").json() == "sdapi/v1/options"
    assert client.get("/sd").json() == ""
    assert client.get("/sdapi/v1/options").json() == "sdapi/v1/options"


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_wrong_passwords_are_slowed_down_and_a_right_one_from_before_is_not() -> None:
    client = client_of(api_auth=(("ann", "one"), ("bob", "two")))
    assert client.get("/x", headers=basic("ann:one")).status_code == 200
    tries = [client.get("/x", headers=basic(f"ann:{number}")).status_code for number in range(FREE_TRIES + 1)]
    assert tries == [401] * FREE_TRIES + [429]
    assert client.get("/x", headers=basic("bob:two")).status_code == 429, "else a guess would come through at any rate"
    assert client.get("/x", headers=basic("ann:one")).status_code == 200
    assert int(client.get("/x").headers["retry-after"]) >= 1


def test_the_wait_doubles_and_ends() -> None:
    now = 0.0
    door = Passwords((("ann", "one"),), clock=lambda: now)
    waits = []
    for _ in range(FREE_TRIES + 8):
        now += door.wait("1.2.3.4", "Basic x")
        assert door.wait("1.2.3.4", "Basic x") == 0
        assert not door.open("1.2.3.4", "Basic x")
        waits.append(door.wait("1.2.3.4", "Basic x"))
    assert waits[FREE_TRIES - 2:] == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert door.wait("5.6.7.8", "Basic x") == 0, "others do not wait"
    now += FORGET_SECONDS + 61
    assert not door.open("1.2.3.4", "Basic x")
    assert door.wait("1.2.3.4", "Basic x") == 0, "old tries are forgotten"


def test_a_key_of_openais_kind_is_user_and_password() -> None:
    client = client_of(api_auth=(("ann", "one"),))
    assert client.get("/x", headers={"authorization": "Bearer ann:one"}).status_code == 200
    assert client.get("/x", headers={"authorization": "Bearer one"}).status_code == 401
