"""Finding a control network by what a request calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.errors import NotFound
from modules.weights.control_files import ControlFiles


@pytest.fixture
def files(tmp_path: Path) -> ControlFiles:
    for name in ("control_v11p_sd15_canny.pth", "control_v11p_sd15_canny_small.safetensors", "sub/Depth.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return ControlFiles([tmp_path, tmp_path / "absent"])


@pytest.mark.parametrize(("text", "name"), [
    ("control_v11p_sd15_canny [e3b0c442]", "control_v11p_sd15_canny"),
    ("control_v11p_sd15_canny", "control_v11p_sd15_canny"),
    ("CONTROL_V11P_SD15_CANNY_SMALL", "control_v11p_sd15_canny_small"),
    ("control_v11p_sd15_canny [d14c016f]", "control_v11p_sd15_canny"),  # the hash of another file of that name
    ("canny", "control_v11p_sd15_canny"), ("small", "control_v11p_sd15_canny_small"), ("depth", "Depth")])
def test_a_title_a_name_or_a_part(files: ControlFiles, text: str, name: str) -> None:
    assert files.find(text).name == name


@pytest.mark.parametrize("text", ["None", "no_such", "", " "])
def test_what_is_not_there(files: ControlFiles, text: str) -> None:
    with pytest.raises(NotFound):
        files.find(text)
