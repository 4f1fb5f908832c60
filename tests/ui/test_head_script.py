"""The page's scripts are put where they belong, and the answer stays one that clients understand."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from modules.ui.page.head_script import EarlyScript

PAGE = "<!doctype html><html><head><script>theirs</script></head><body><head></body></html>"
WITH_OURS = PAGE.replace("<head>", "<head><script>ours</script>", 1)


def client(page: HTMLResponse | StreamingResponse) -> TestClient:
    def answer(request: Request) -> HTMLResponse | StreamingResponse:
        return page

    return TestClient(Starlette(routes=[Route("/", answer), Route("/file", answer)],
                                middleware=[Middleware(EarlyScript, script="ours")]))


def test_ours_come_first() -> None:
    got = client(HTMLResponse(PAGE)).get("/")
    assert got.text == WITH_OURS
    assert got.headers["content-length"] == str(len(WITH_OURS))


def test_a_page_that_comes_in_pieces() -> None:
    def pieces() -> Iterator[str]:
        yield from (PAGE[:18], PAGE[18:30], PAGE[30:])

    assert client(StreamingResponse(pieces(), media_type="text/html")).get("/").text == WITH_OURS


def test_only_the_page_is_changed() -> None:
    assert client(HTMLResponse(PAGE)).get("/file").text == PAGE
    refused = client(HTMLResponse("not found", 404)).get("/")
    assert (refused.status_code, refused.text) == (404, "not found")


def test_asked_for_the_headers_alone() -> None:
    assert client(HTMLResponse(PAGE)).head("/").headers["content-length"] == str(len(WITH_OURS))
