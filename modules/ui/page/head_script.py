"""Inserts the page's scripts before Gradio's own.

A script passed to Gradio as `head` runs after Gradio has read the browser's language and begun to load its translation.
The script that decides the language must run before that.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class EarlyScript:
    """ASGI middleware for Gradio's application: inserts `script` as the first element into the head of the page at
    "/"."""

    def __init__(self, app: ASGIApp, script: str) -> None:
        self._app = app
        self._head = b"<head><script>" + script.encode() + b"</script>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. The response with the page is buffered until it is complete, then changed."""
        if scope["type"] != "http" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def send_whole(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = body.replace(b"<head>", self._head, 1)
            MutableHeaders(scope=start)["content-length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, send_whole)
