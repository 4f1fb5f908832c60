"""The detectors by name: those that are always there, and the ONNX files in `models/adetailer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from modules.base.files import FileVersion, file_version
from modules.errors import InvalidInput
from modules.imaging import included
from modules.imaging.detectors import haar
from modules.imaging.detectors.centerface import centerface, is_centerface
from modules.imaging.detectors.find import Detect
from modules.imaging.detectors.hands import hands
from modules.imaging.detectors.persons import persons
from modules.imaging.detectors.yolo import yolo
from modules.imaging.onnx_network import OnnxNetwork

SUFFIX = ".onnx"
BUILT_IN: dict[str, Callable[[], Detect]] = {
    "Face": lambda: centerface(OnnxNetwork(included.CENTERFACE)), "Hand": hands, "Person": persons,
    **{name: partial(dict.__getitem__, haar.DETECTORS, name) for name in haar.DETECTORS}}
"""What makes each detector that is always there."""
KINDS = {"face": "Face", "centerface": "Face", "mediapipe_face": "Face", "hand": "Hand", "person": "Person"}
"""What the ADetailer extension's detectors begin with, and what stands in where no file begins with it."""


class Detectors:
    """The detectors in `folders`. A file is read when it is first used; the last four are kept.

    Only one thread at a time may use a detector; the job queue's worker is that thread.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._kept: dict[tuple[Path, FileVersion | None], Detect] = {}
        self._built_in: dict[Callable[[], Detect], Detect] = {}

    def files(self) -> dict[str, Path]:
        """The ONNX files by name. Of two with the same name the first is used."""
        found = [path for folder in self._folders if folder.is_dir() for path in sorted(folder.rglob("*"))
                 if path.suffix.lower() == SUFFIX and path.is_file()]
        named = {path.name: path for path in reversed(found)}
        return dict(sorted(named.items(), key=lambda item: item[0].lower()))

    def names(self) -> list[str]:
        """The names of all detectors, the built-in ones first."""
        return [*BUILT_IN, *self.files()]

    def find(self, name: str) -> tuple[str, str]:
        """(the detector that `name` means, in any case, and a sentence if that is another one in its place).

        `face_yolov8n.pt` means `face_yolov8n.onnx`; without that any detector of faces stands in for it. Raises
        InvalidInput if there is none.
        """
        names, wanted = self.names(), name.strip().lower()
        stem = wanted.rpartition(".")[0] if wanted.endswith((".pt", SUFFIX)) else wanted
        for known in names:
            if known.lower() in (wanted, stem + SUFFIX):
                return known, ""
        for kind, built_in in KINDS.items():
            if wanted.startswith(kind):
                files = [known for known in names if known.lower().startswith(kind) and known.endswith(SUFFIX)]
                instead = files[0] if files else built_in
                return instead, f"There is no detector {name[:100]!r} in models/adetailer: {instead} took its place."
        raise InvalidInput(f"There is no detector {name[:100]!r}: put an ONNX file of that name into models/adetailer.",
                           field="ad_model")

    def detector(self, name: str) -> Detect:
        """The detector of that full name. Raises InvalidInput, CheckpointError."""
        if name in BUILT_IN:
            make = BUILT_IN[name]
            if make not in self._built_in:
                self._built_in[make] = make()
            return self._built_in[make]
        path = self.files().get(name)
        if path is None:
            raise InvalidInput(f"There is no detector {name[:100]!r} in models/adetailer.", field="ad_model")
        key = (path, file_version(path))
        if key not in self._kept:
            network = OnnxNetwork(path)
            self._kept[key] = centerface(network) if is_centerface(network) else yolo(network)
            while len(self._kept) > 4:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]
