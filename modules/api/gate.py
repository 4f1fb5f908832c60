"""The one door that page and API stand behind: host names, passwords, origins, body sizes and security headers.

A web page from anywhere can make a browser send requests to 127.0.0.1. So the Host must be one of ours (a foreign name
that was pointed at this machine is refused), a request that changes something must not come from another origin, unless
`--cors-allow-origins` names that, and a password, where one is set, is asked for everything.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import math
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.passwords import Passwords
from modules.base.unicode import without_surrogates
from modules.errors import OUR_FAULT, UserError
from modules.settings import Settings

log = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# Gradio's page needs inline scripts, eval (its templates) and blob: and data: pictures, but no other host.
PAGE_POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
               "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
               "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
               "frame-ancestors 'self'; base-uri 'self'; form-action 'self'; object-src 'none'")
# Files that were uploaded or saved are shown, never run, whatever is inside them.
FILE_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
FILE_PATHS = ("/gradio_api/file", "/file=", "/history/")
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "same-origin", "x-frame-options": "SAMEORIGIN",
           "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin"}

DRAIN_TIMES = 32
"""How many times the body limit is read and thrown away before a refusal, so that clients get to read the answer."""


NAMES_LOGGED = 20
"""So many of the host names that were refused are named in the log, each once."""


class Gate:
    """ASGI middleware. Refuses with 421 (host), 401 (password), 429 (too many wrong ones), 403 (origin), 413 (body);
    adds headers to the rest."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = LOOPBACK_NAMES | {name.lower() for name in settings.allow_host}
        if settings.listen:
            self._hosts |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        self._any_address = settings.listen
        self._passwords = settings.passwords
        self._door = Passwords(settings.passwords)
        self._body_limit = settings.max_body_mb * 2**20
        self._outputs = settings.outputs_dir.resolve()
        self._prefix = settings.root_path
        self._origins = frozenset(settings.cors_allow_origins)
        self._refused_names: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        scope = _as_one_path(self._without_prefix(scope))
        headers = Headers(scope=scope)
        allowed = self._allows_origin(headers.get("origin"))
        refusal = self._refusal(scope, headers, allowed=allowed)
        if refusal is None and self._is_hidden(scope["path"]):
            refusal = problem(404, "NotFound", "There is no such file.")
        if scope["type"] == "websocket":
            if refusal is not None:
                return await send({"type": "websocket.close", "code": 1008})
            return await self._app(scope, receive, send)
        send = _with_headers(send, scope["path"], cors_headers(headers) if allowed else {})
        if refusal is not None:
            return await refusal(scope, receive, send)
        if allowed and is_preflight(scope, headers):
            return await Response(status_code=204)(scope, receive, send)
        return await self._with_limited_body(scope, headers, receive, send)

    def _without_prefix(self, scope: Scope) -> Scope:
        """Serves the page under --subpath too when the proxy passes the path on as it is."""
        path = scope["path"]
        if self._prefix and (path == self._prefix or path.startswith(f"{self._prefix}/")):
            return dict(scope, path=path[len(self._prefix):] or "/", raw_path=None)
        return scope

    def _refusal(self, scope: Scope, headers: Headers, *, allowed: bool) -> JSONResponse | None:
        """What is wrong with the request, if anything. `allowed` says that its origin may do what our own page may."""
        host = headers.get("host", "")
        asks_first = is_preflight(scope, headers)  # browsers send no password with these
        # A foreign name is a trick to get at what needs no password: a browser sends none that is for another name.
        if not self._passwords and not self._is_our_host(host):
            self._log_name(host)
            return problem(421, "WrongHost", "This server does not answer under that name; it does when it is started "
                           f"with --allow-host {_name_or_word(host)}")
        if self._passwords and not asks_first and (refusal := self._wrong_password(scope, headers)):
            return refusal
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS or asks_first
        if changes and not allowed and not is_same_origin(headers, host):
            return problem(403, "WrongOrigin",
                           "This request comes from another web site; --cors-allow-origins lets one in.")
        return None

    def _is_hidden(self, path: str) -> bool:
        """Whether a file of the outputs is asked for that is no picture: the history's index, its bin, half a save."""
        _, found, name = path.partition("/file")
        if not found or not path.startswith(FILE_PATHS):
            return False
        try:
            files = (Path(name[1:]).resolve(), Path("/", name[1:]).resolve())
            return any(part.startswith(".") for file in files if file.is_relative_to(self._outputs)
                       for part in file.relative_to(self._outputs).parts)
        except (OSError, ValueError, RuntimeError):  # no path, or links in a circle
            return True

    def _wrong_password(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        address, header = (scope.get("client") or ("",))[0], headers.get("authorization", "")
        wait = self._door.wait(address, header)
        if wait:
            return problem(429, "TooManyTries", f"Too many wrong passwords came from {address}: try again in "
                           f"{math.ceil(wait)} seconds.", {"retry-after": str(math.ceil(wait))})
        if self._door.open(address, header):
            return None
        return problem(401, "Unauthorised", "A user name and a password are needed.",
                       {"www-authenticate": 'Basic realm="Inpaint WebUI", charset="UTF-8"'})

    def _allows_origin(self, origin: str | None) -> bool:
        return origin is not None and ("*" in self._origins or origin in self._origins)

    def _log_name(self, host: str) -> None:
        """Whoever runs the server is told once of each name, for programs often do not show the answer."""
        if len(self._refused_names) < NAMES_LOGGED and host not in self._refused_names:
            self._refused_names.add(host)
            log.warning("A request for the host %r was refused; --allow-host %s lets it in.", host[:100],
                        _name_or_word(host))

    def _is_our_host(self, header: str) -> bool:
        name = _host_name(header)
        if name in self._hosts:
            return True
        # Rebinding needs a name that its owner can point anywhere: no address, and none of a local network.
        return self._any_address and (_is_address(name) or (_is_name(name) and "." not in name)
                                      or name == "host.docker.internal")

    async def _with_limited_body(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Counts the body as it comes, whatever its header says, and answers 413 once it is too large."""
        refusal = problem(413, "TooLarge", f"The body is larger than {self._body_limit // 2**20} MB (--max-body-mb).",
                          {"connection": "close"})
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._body_limit:
            if "expect" not in headers:  # a client that asks first has sent nothing yet
                await _drain(receive, self._body_limit * DRAIN_TIMES)
            await refusal(scope, receive, send)
            return
        body = _CountedBody(receive, self._body_limit)
        answer = _UnlessTooLarge(_Answer(send), body)
        try:
            await self._app(scope, body, answer)
        except Exception as error:
            if not body.too_large and not await answer.inner.blame_client(error, scope, receive):
                raise
        else:
            await answer.inner.release(scope)
        if body.too_large and not answer.started:
            if not body.ended:
                await _drain(receive, self._body_limit * DRAIN_TIMES)
            await refusal(scope, receive, send)


PROGRAMS = ("/sdapi/", "/adetailer/", "/tagger/", "/internal/", "/v1/")
"""How paths that programs ask for begin."""


def _as_one_path(scope: Scope) -> Scope:
    """A program's path without slashes too many, before or behind: WebUI redirects those, and clients rely on it."""
    path = f"/{scope['path'].strip('/')}" if scope["path"].startswith("//") else scope["path"].rstrip("/")
    if path == scope["path"] or not path.startswith(PROGRAMS):
        return scope
    return dict(scope, path=path, raw_path=None)


class _CountedBody:
    """A `receive` that says the client has gone as soon as more than `limit` bytes came."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit
        self.too_large = self.ended = False

    async def __call__(self) -> Message:
        if self.too_large:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self.ended = not message.get("more_body")
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_large = True
            return {"type": "http.disconnect"}
        return message


class _UnlessTooLarge:
    """A `send` that keeps the application's answer back when the body was too large: the gate answers then."""

    def __init__(self, inner: _Answer, body: _CountedBody) -> None:
        self.inner, self._body = inner, body
        self.started = False

    async def __call__(self, message: Message) -> None:
        if self._body.too_large and not self.started:
            return
        self.started = True
        await self.inner(message)


NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EINVAL)


class _Answer:
    """A `send` that keeps an answer 500 back until it is known whose fault that is.

    Gradio, which is mounted behind the API, answers 500 where a body is not what its page sends, and mostly raises
    again. An error of ours in the API comes without an answer: that is made outside the gate. One in an event of the
    page has our sentence in its answer.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []

    async def __call__(self, message: Message) -> None:
        if message.get("status") == 500 or self._held:
            self._held.append(message)
        else:
            await self._send(message)

    async def release(self, scope: Scope) -> None:
        """Sends what was kept back: of Gradio's answers as a 422, unless the fault is ours."""
        content = b"".join(message.get("body", b"") for message in self._held)
        if self._held and scope["path"].startswith("/gradio_api/") and OUR_FAULT.encode() not in content:
            self._held[0] = dict(self._held[0], status=422)
        for message in self._held:
            await self._send(message)

    async def blame_client(self, error: Exception, scope: Scope, receive: Receive) -> bool:
        """Answers 422 instead and logs one line, if the mounted application answered 500 to what it cannot read. A path
        that the file system refuses to look for is a 404."""
        no_path = isinstance(error, OSError) and error.errno in NO_PATH
        if not self._held or (isinstance(error, (OSError, MemoryError)) and not no_path):
            for message in self._held:
                await self._send(message)
            return False
        log.warning("%s %s was not understood: %s: %s", scope["method"], scope["path"][:200], type(error).__name__,
                    str(error)[:200])
        refusal = (problem(404, "NotFound", "There is no such file.") if no_path else
                   problem(422, "InvalidInput", "The page's server could not read this request."))
        await refusal(scope, receive, self._send)
        return True


async def _drain(receive: Receive, limit: int) -> None:
    """Reads what is left of a body, `limit` bytes at most."""
    while limit > 0:
        message = await receive()
        limit -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


def is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks if a page from elsewhere may send something."""
    return scope["type"] == "http" and scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def cors_headers(headers: Headers) -> dict[str, str]:
    """What lets a page of the request's origin read the answer, and after it asked, send what it asked about."""
    found = {"access-control-allow-origin": headers["origin"], "access-control-allow-credentials": "true",
             "cross-origin-resource-policy": "cross-origin"}
    if "access-control-request-method" not in headers:
        return found
    return found | {
        "access-control-allow-methods": headers["access-control-request-method"],
        "access-control-allow-headers": headers.get("access-control-request-headers", "content-type"),
        "access-control-allow-private-network": "true", "access-control-max-age": "600"}


def _with_headers(send: Send, path: str, cors: dict[str, str]) -> Send:
    """Adds the security headers, and those of `cors` instead of what Gradio says to other origins."""
    policy = FILE_POLICY if path.startswith(FILE_PATHS) else PAGE_POLICY

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("content-security-policy", policy)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            for name in {name for name in headers if name.startswith("access-control-")}:
                del headers[name]
            headers.update(cors)
            if cors:
                headers.add_vary_header("Origin")
        await send(message)

    return sending


def problem(status: int, name: str, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error in WebUI's shape."""
    return JSONResponse(_shape(name, sentence), status, headers)


def refusal(error: UserError) -> dict[str, str]:
    """`error` in WebUI's shape."""
    return _shape(type(error).__name__, error.message)


def _shape(name: str, sentence: str) -> dict[str, str]:
    sentence = without_surrogates(sentence)
    return {"error": name, "detail": sentence, "errors": sentence, "body": ""}


def is_same_origin(headers: Headers, host: str) -> bool:
    """Whether a browser sends this from our own page, or a program that is no browser sends it."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    try:
        return origin is None or (origin != "null" and urlsplit(origin).netloc.lower() == host.lower())
    except ValueError:  # as http://[::1
        return False


def _host_name(header: str) -> str:
    """The name in a Host header, in small letters; empty when there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _name_or_word(header: str) -> str:
    """What to type behind --allow-host."""
    name = _host_name(header)[:100]
    return name if _is_name(name) else "NAME"


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?", text) is not None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
