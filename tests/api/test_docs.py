"""The examples of docs/api.md, run one after the other against a running server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(bash|python|javascript)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_run(address: str, tmp_path: Path) -> None:
    ran: set[str] = set()
    for language, text in EXAMPLES:
        text = text.replace("http://127.0.0.1:7860", address)
        command = {"bash": ["bash", "-ec", text.replace("curl -s", "curl -sf")], "python": [sys.executable, "-c", text],
                   "javascript": ["node", "--input-type=module", "-e", text]}[language]
        if shutil.which("curl" if language == "bash" else command[0]) is None:
            continue
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        ran.add(language)
    assert "python" in ran
    made = {path.name for path in tmp_path.iterdir()}
    assert {"dog.png"} <= made
    if "bash" in ran:
        assert {"answer.json", "map.json", "job.json", "openai.json", "edit.json"} <= made


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/controlnet/detect", "/sdapi/v1/remove", "/v1/jobs",
                                  "/v1/images/generations", "/v1/images/edits",
                                  "/internal/pending-tasks", "/internal/sysinfo"])
def test_each_way_in_is_on_the_page(path: str) -> None:
    assert path in PAGE
