"""Files that are not what they should be get one sentence, and code in a pickle never runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modules.errors import CheckpointError
from modules.weights import tensors
from modules.weights.tensors import TensorFile, check_room, read_pickle, read_tensors

ran: list[str] = []


class Attack:
    """A pickle that runs a function when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return ran.append, ("it ran",)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as raised, read_tensors(path):
        pass
    message = raised.value.message
    assert message.startswith(path.name)
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def test_safetensors(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "x.safetensors"
    save_file(weights, path, metadata={"unet_heads": "4"})
    with read_tensors(path) as file:
        assert file.shapes == {"a.weight": (2, 3), "a.bias": (2,)}
        assert file.metadata == {"unet_heads": "4"}
        assert torch.equal(read(file, "a.weight"), weights["a.weight"])
        assert torch.equal(read(file, "a.bias"), weights["a.bias"].double())


def read(file: TensorFile, key: str) -> torch.Tensor:
    """A tensor as another type than the file's."""
    into = torch.full(file.shapes[key], -1.0, dtype=torch.float64)
    file.read(key, into)
    return into


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool,
                                   torch.float8_e4m3fn])
def test_tensors_larger_than_the_window(tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows a tensor, the last one not full, tensors without any values between them, in any order."""
    monkeypatch.setattr(tensors, "WINDOW", 64)
    weights = {f"{n}": (torch.arange(n) % 7 - 3).to(dtype) for n in (1, 0, 63, 64, 65, 1000, 3)}
    save_file(weights, tmp_path / "x.safetensors")
    with read_tensors(tmp_path / "x.safetensors") as file:
        for key in ("65", "1", "1000", "0", "64", "3", "63"):
            assert torch.equal(read(file, key), weights[key].double())


def test_cut_short_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1000), "b": torch.ones(1000)}, path)
    with read_tensors(path) as file:
        os.truncate(path, path.stat().st_size - 8)
        read(file, "a")
        with pytest.raises(CheckpointError, match="cut short"):
            read(file, "b")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("name", ["x.ckpt", "x.pt"])
def test_pickles_of_tensors(
    tmp_path: Path, weights: dict[str, torch.Tensor], name: str, wrapped: bool, new_format: bool
) -> None:
    content = {"state_dict": weights, "epoch": 3} if wrapped else {**weights, "step": 3}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=new_format)
    with read_tensors(tmp_path / name) as file:
        assert file.shapes == {"a.weight": (2, 3), "a.bias": (2,)}
        assert torch.equal(read(file, "a.bias"), weights["a.bias"].double())


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x.pt"])
def test_missing_empty_and_web_pages(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "cannot be read" in refusal(path)
    path.touch()
    assert "is empty" in refusal(path)
    path.write_text("\n<!DOCTYPE html><html>Please log in</html>" * 20)
    assert "is a web page" in refusal(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "Git LFS pointer" in refusal(path)
    path.write_bytes(b"\x00\xff\x13 something else entirely" * 50)
    assert "cut off or damaged" in refusal(path)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt"])
def test_truncated(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    weights = {str(i): torch.randn(100) for i in range(50)}
    if name.endswith(".ckpt"):
        torch.save(weights, path)
    else:
        save_file(weights, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "cut off or damaged" in refusal(path)


def test_mislabelled(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, tmp_path / "x.safetensors")
    assert "is a pickle under another name" in refusal(tmp_path / "x.safetensors")
    save_file(weights, tmp_path / "x.ckpt")
    assert "rename it to .safetensors" in refusal(tmp_path / "x.ckpt")


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_pickle_is_named_and_does_not_run(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Attack()}, path, _use_new_zipfile_serialization=new_format)
    message = refusal(path)
    assert "asks to run" in message
    path.write_bytes(pickle.dumps({"a": Path("x")}, protocol=2))
    assert "asks to run pathlib" in refusal(path)
    assert ran == []


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "x.pt")
    assert "holds a list, not a set of tensors" in refusal(tmp_path / "x.pt")


def trap(kind: str) -> dict[str, torch.Tensor]:
    """Pickles of a few bytes that hold, or would hold, gigabytes."""
    one = torch.ones(1)
    return {"stride 0": {"a": one.expand(2**16, 2**12)},
            "sharing": {f"x{number}": SHARED for number in range(10)},
            "sparse": {"a": torch.sparse_coo_tensor(torch.zeros(2, 1).long(), one, (2**16, 2**16))},
            "meta": {"a": torch.empty(2**16, 2**16, device="meta")}}[kind]


SHARED = torch.ones(100)


@pytest.mark.parametrize("kind", ["stride 0", "sharing", "sparse", "meta"])
def test_more_numbers_than_are_stored_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "small.pt"
    torch.save(trap(kind), path)
    assert path.stat().st_size < 2**16
    refusal(path)


def test_weights_that_are_stored_once_for_two_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tied.pt"
    torch.save({"a": SHARED, "b": SHARED, "part": SHARED[:10], "none": torch.zeros(0)}, path)
    with read_tensors(path) as file:
        assert file.shapes == {"a": (100,), "b": (100,), "part": (10,), "none": (0,)}


def test_weights_larger_than_the_free_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_room("model", "cpu", 2**20)
    with pytest.raises(CheckpointError, match=r"model needs 1000000\.0 GB"):
        check_room("model", "cpu", 10**15)


def test_a_pickle_that_was_read_does_not_change_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.save({"inside": [torch.zeros(1000)]}, file)
    content = read_pickle(file)
    before = file.read_bytes()
    with file.open("r+b") as there:  # the same file, not a new one of its name
        there.write(b"\xff" * len(before))
    assert not content["inside"][0].any()
