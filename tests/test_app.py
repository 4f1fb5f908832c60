"""The door's own few decisions; that it really serves is in test_offline.py."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import app
from modules.settings import Settings


def test_old_uploads_are_forgotten_and_new_ones_kept(tmp_path: Path) -> None:
    for name, age in (("old", 2 * app.UPLOAD_SECONDS), ("new", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "picture.png").touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    app.forget_old(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    app.forget_old(tmp_path / "nowhere")


@pytest.mark.parametrize("argv", [["--no-such-flag"], ["--port", "x"]])
def test_a_wrong_flag_ends_the_program_with_a_sentence(argv: list[str], monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["app.py", *argv])
    assert app.main() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_answers_leave_at_once() -> None:
    """Without TCP_NODELAY an answer in two packets waits 40 ms for the client's acknowledgement of the first."""
    found: list[int] = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def connect() -> None:
        with app.listen(Settings(port=0)) as listener:
            server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()
            server.close()

    with ThreadPoolExecutor(1) as own:  # the browser's tests leave a running loop to the thread of the tests
        own.submit(asyncio.run, connect()).result()
    assert len(found) == 1
    assert found[0] != 0


def test_folders_of_another_webui_are_named_and_its_styles_copied_once(tmp_path: Path,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    webui = tmp_path / "webui"
    (webui / "models" / "VAE").mkdir(parents=True)
    (webui / "styles.csv").write_text("name,prompt,negative_prompt\na,b,c\n")
    settings = Settings(data_dir=tmp_path, webui_dir=webui)
    app.tell_borrowed(settings)
    assert str(webui / "models" / "VAE") in capsys.readouterr().out
    settings.styles_file.write_text("mine")
    app.tell_borrowed(settings)
    assert settings.styles_file.read_text() == "mine"
    assert sorted(path.name for path in webui.iterdir()) == ["models", "styles.csv"]
