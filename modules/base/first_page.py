"""The page that is there at once: it is shown while the program still loads, and loads itself again after that.

Only the page itself is answered. A request for anything else is not read: its connection is kept, and the program's
server takes it over (`modules.api.connections.Server`). So programs that ask early wait, and the gate sees what they
send and where they come from. Standard library only.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import threading

MOST = 256
"""Connections that are accepted; more wait in the system's queue."""
HEADERS = 65536
"""Bytes of a request for the page that are read."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Inpaint WebUI</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"><noscript><meta http-equiv="refresh" content="2"></noscript>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, "Noto Sans CJK SC", sans-serif; }
body { min-height: 100vh; margin: 0; display: grid; place-content: center; text-align: center; }
h1 { margin: 0; font-size: 20px; font-weight: 600; }
</style></head>
<body><main><h1>Inpaint WebUI</h1><p role="status">The program is starting…</p></main>
<script>
let language = navigator.language;
try {
	language = localStorage.getItem("inpaint-webui:language") ?? language;
} catch {} // a browser without storage
const said = language.startsWith("zh")
	? {starting: "程序正在启动…", ended: "程序已退出，原因见其控制台。"}
	: {starting: "The program is starting…", ended: "The program has ended: its console says why."};
const say = (words) => (document.querySelector("p").textContent = words);
// Nothing answers this before the program is ready.
function wait() {
	fetch("ROOT/sdapi/v1/progress?skip_current_image=true", {credentials: "omit"}).then(() => location.reload(), () => {
		say(said.ended);
		setTimeout(wait, 2000);
	});
}
document.documentElement.lang = language;
say(said.starting);
wait();
</script></body></html>
"""


class FirstPage:
    """Answers on `listener`, from a thread of its own, until `stop`. The page has `root_path` in front of its path."""

    def __init__(self, listener: socket.socket, root_path: str = "") -> None:
        self._listener = listener
        self._paths = {"/", root_path, f"{root_path}/"}
        body = PAGE.replace("ROOT", root_path).encode()
        self._answer = (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\nRetry-After: 2\r\n"
            b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: SAMEORIGIN\r\n"
            b"Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
            b"img-src data:; connect-src 'self'\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        self._open: set[socket.socket] = set()
        self._answered: set[socket.socket] = set()
        self._awake, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="first page", daemon=True)
        self._thread.start()

    def stop(self) -> list[socket.socket]:
        """Answer nothing more. Returns the connections whose requests were not read, for the one who goes on with
        `listener`."""
        self._wake.send(b".")
        self._thread.join()
        self._awake.close()
        self._wake.close()
        for one in self._answered:
            one.close()
        return list(self._open)

    def _run(self) -> None:
        self._listener.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._awake, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._awake:
                        return
                    with contextlib.suppress(OSError):  # a client that has gone
                        if key.fileobj is self._listener:
                            self._accept(selector)
                        else:
                            self._read(key.fileobj, selector)  # type: ignore[arg-type]

    def _accept(self, selector: selectors.BaseSelector) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        self._open.add(connection)
        selector.register(connection, selectors.EVENT_READ)
        if len(self._open) >= MOST:
            selector.unregister(self._listener)

    def _read(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        """Answer a request for the page. Leave any other where it is, which is not looked at again."""
        if connection in self._answered:
            if not connection.recv(HEADERS):
                selector.unregister(connection)
                self._answered.remove(connection)
                connection.close()
            return
        first = re.match(rb"GET ([^ ?]*)(\?[^ ]*)? HTTP/1", connection.recv(HEADERS, socket.MSG_PEEK))
        if first is None or first[1].decode("latin-1") not in self._paths:
            selector.unregister(connection)
            return
        connection.recv(HEADERS)
        self._open.remove(connection)
        self._answered.add(connection)
        connection.send(self._answer)
        connection.shutdown(socket.SHUT_WR)
