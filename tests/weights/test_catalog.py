"""The catalog of checkpoints: what it lists, how it names files, what it finds, and what it remembers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modules.errors import NotFound
from modules.weights.catalog import Catalog, CheckpointFile, metadata


def write(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or path.name)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Stable-diffusion"
    write(root / "photo.safetensors")
    write(root / "sub" / "Drawing.ckpt")
    return root


def names(catalog: Catalog) -> list[str]:
    return [file.filename for file in catalog.checkpoints()]


def test_lists_files_of_sub_folders_by_name(folder: Path) -> None:
    assert names(Catalog([folder])) == ["photo.safetensors", "sub/Drawing.ckpt"]


def test_hidden_unfinished_and_foreign_files_are_left_out(folder: Path) -> None:
    for name in (".hidden.safetensors", "half.safetensors.part", "half.safetensors.tmp", "notes.txt", ".git/x.ckpt"):
        write(folder / name)
    assert len(names(Catalog([folder]))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name is any bytes")
def test_a_name_that_is_no_text_is_left_out(folder: Path) -> None:
    write(folder / os.fsdecode(b"caf\xe9.safetensors"), "x")
    write(folder / os.fsdecode(b"\xe9") / "x.safetensors")
    write(folder / "café.safetensors")
    assert names(Catalog([folder])) == ["café.safetensors", "photo.safetensors", "sub/Drawing.ckpt"]


def test_links_are_followed_and_broken_or_circular_ones_do_no_harm(folder: Path, tmp_path: Path) -> None:
    (folder / "far.safetensors").symlink_to(write(tmp_path / "elsewhere" / "big.safetensors"))
    (folder / "gone.safetensors").symlink_to(tmp_path / "nothing.safetensors")
    (folder / "sub" / "round").symlink_to(folder)
    assert names(Catalog([folder])) == ["far.safetensors", "photo.safetensors", "sub/Drawing.ckpt"]


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert Catalog([tmp_path / "none"]).checkpoints() == []


def test_refresh_sees_what_came_and_what_went(folder: Path) -> None:
    catalog = Catalog([folder])
    write(folder / "new.safetensors")
    (folder / "photo.safetensors").unlink()
    assert "new.safetensors" not in names(catalog)
    catalog.refresh()
    assert names(catalog) == ["new.safetensors", "sub/Drawing.ckpt"]


def test_names_are_webuis(folder: Path) -> None:
    catalog = Catalog([folder])
    file = catalog.find("Drawing")
    assert (file.name, file.model_name, file.title) == ("Drawing", "sub_Drawing", "sub/Drawing.ckpt")
    sha256 = digest(folder / "sub" / "Drawing.ckpt")
    known = catalog.hashed(file)
    assert known.title == f"sub/Drawing.ckpt [{sha256[:10]}]"
    assert (known.sha256, known.shorthash) == (sha256, sha256[:10])
    assert catalog.checkpoints()[1] == known


@pytest.mark.parametrize(
    "text",
    ["photo.safetensors", "photo", "PHOTO", " photo ", "photo [0123456789]", "photo.safetensors [0000000000]", "pho"],
)
def test_finds_by_name_title_and_part(folder: Path, text: str) -> None:
    assert Catalog([folder]).find(text).name == "photo"


@pytest.mark.parametrize("text", ["sub/Drawing", "sub_Drawing", "sub/drawing.ckpt", "Drawing.ckpt", "drawing"])
def test_finds_in_sub_folders(folder: Path, text: str) -> None:
    assert Catalog([folder]).find(text).name == "Drawing"


def test_finds_by_hash_even_before_anybody_asked_for_it(folder: Path) -> None:
    sha256 = digest(folder / "photo.safetensors")
    for text in (sha256, sha256[:10], sha256[:10].upper(), f"renamed.safetensors [{sha256[:10]}]"):
        assert Catalog([folder]).find(text).name == "photo"


def test_an_exact_name_wins_over_a_longer_one(folder: Path) -> None:
    write(folder / "photo-2.safetensors")
    write(folder / "a-photo.safetensors")
    assert Catalog([folder]).find("photo").name == "photo"


def test_an_unknown_name_says_what_there_is(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no checkpoint \"x9\"; there are photo.safetensors, sub/Drawing.ckpt\."):
        Catalog([folder]).find("x9")
    with pytest.raises(NotFound, match="there is none at all"):
        Catalog([tmp_path / "none"]).find("")


def test_a_hash_is_computed_once_and_kept_between_runs(folder: Path, tmp_path: Path) -> None:
    cache, path = tmp_path / "cache" / "hashes.json", folder / "photo.safetensors"
    first = Catalog([folder], cache_file=cache)
    sha256 = first.sha256(first.find("photo"))
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_text("PHOTO.safetensors")  # as long as before, and of the same time: only a cache gives the old hash
    os.utime(path, ns=times)
    assert Catalog([folder], cache_file=cache).find("photo").sha256 == sha256
    os.utime(path, ns=(times[0], times[1] + 1))
    again = Catalog([folder], cache_file=cache)
    assert again.find("photo").sha256 is None
    assert again.sha256(again.find("photo")) == digest(path) != sha256
    assert not list(cache.parent.glob("*.tmp"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', "\0", "null"])
def test_a_damaged_cache_is_an_empty_one(folder: Path, tmp_path: Path, content: str) -> None:
    cache = write(tmp_path / "hashes.json", content or " ")
    catalog = Catalog([folder], cache_file=cache)
    assert catalog.sha256(catalog.find("photo")) == digest(folder / "photo.safetensors")
    assert str(folder / "photo.safetensors") in json.loads(cache.read_text())


def test_a_damaged_entry_is_no_entry(folder: Path, tmp_path: Path) -> None:
    cache = write(tmp_path / "hashes.json", json.dumps({str(folder / "photo.safetensors"): ["x"]}))
    assert Catalog([folder], cache_file=cache).find("photo").sha256 is None


def test_a_file_that_went_away_is_said_to_be_gone(folder: Path) -> None:
    catalog = Catalog([folder])
    file = catalog.find("photo")
    file.path.unlink()
    with pytest.raises(NotFound, match="no longer there"):
        catalog.sha256(file)


def test_vae_files_are_not_checkpoints(folder: Path, tmp_path: Path) -> None:
    write(folder / "photo.vae.pt")
    write(tmp_path / "VAE" / "soft.safetensors")
    catalog = Catalog([folder], [tmp_path / "VAE"])
    assert len(catalog.checkpoints()) == 2
    assert [file.name for file in catalog.vaes()] == ["photo.vae.pt", "soft.safetensors"]
    assert catalog.find_vae("SOFT").name == "soft.safetensors"
    with pytest.raises(NotFound, match="no VAE"):
        catalog.find_vae("hard")


def test_automatic_takes_the_vae_beside_the_checkpoint_first(folder: Path, tmp_path: Path) -> None:
    vae_folder = tmp_path / "VAE"
    write(vae_folder / "photo.vae.safetensors")
    catalog = Catalog([folder], [vae_folder])
    photo, drawing = catalog.find("photo"), catalog.find("Drawing")
    assert catalog.automatic_vae(drawing) is None
    assert catalog.automatic_vae(photo).path.parent == vae_folder
    write(folder / "photo.vae.pt")
    catalog.refresh()
    assert catalog.automatic_vae(photo).path.parent == folder


def test_metadata_comes_from_the_header_alone(tiny: Path, tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt", "unet_heads": "8", "n": 1}}).encode()
    path = tmp_path / "only-a-header.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert metadata(path) == {"format": "pt", "unet_heads": "8"}
    assert metadata(tiny) == {}


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x02" + b"\0" * 7 + b"[]", b"\x05" + b"\0" * 7 + b"{"])
def test_a_damaged_header_has_no_metadata(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert metadata(path) == {}


def test_the_catalog_is_there_before_the_heavy_libraries() -> None:
    code = "import sys, modules.weights.catalog; print({'torch', 'diffusers', 'numpy'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout == "set()\n"


def test_checkpoint_files_are_values(tmp_path: Path) -> None:
    assert CheckpointFile(tmp_path, "a") == CheckpointFile(tmp_path, "a")
