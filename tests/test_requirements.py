"""requirements.lock holds what requirements.txt asks for, with hashes."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]
PINNED = {"fastapi", "starlette", "uvicorn", "pydantic", "python-multipart"}


def required() -> dict[str, Requirement]:
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    found = [Requirement(line.partition("#")[0].strip()) for line in lines if line and not line.startswith("#")]
    return {one.name: one for one in found}


def test_the_lock_fits_and_every_file_has_its_hash() -> None:
    text = (PROJECT / "requirements.lock").read_text()
    entries = re.findall(r"^([a-z0-9-]+)==([^ \n\\;]+)(.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 50
    versions: dict[str, list[str]] = {}
    for name, version, _ in entries:
        versions.setdefault(name, []).append(version)
    for name, one in required().items():
        assert all(one.specifier.contains(version) for version in versions[name]), name


def test_what_the_server_stands_on_is_pinned_and_pillow_has_no_advisory() -> None:
    found = required()
    assert all(any(part.operator == "==" for part in found[name].specifier) for name in PINNED)
    assert not found["pillow"].specifier.contains("12.2.0")
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    assert all("#" in line for line in lines if line), "each line says why it is there"
