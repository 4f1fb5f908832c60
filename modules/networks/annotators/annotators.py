"""Makes control maps: by arithmetic, or by the network of a preprocessor, which is read when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modules.annotate.preprocessor import Pixels, Preprocessor, Values
from modules.annotate.scale import scaled
from modules.annotate.skeleton import People, drawn
from modules.base.files import FileVersion, file_version
from modules.errors import InvalidInput

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tflite")
CONFIG = "config.json"

Load = Callable[[Path, str], Callable[[Pixels], Any]]
"""(file or folder, device) -> a network: RGB in, its own answer out. Raises CheckpointError."""


class Annotators:
    """The preprocessors at work. The last network that was used is kept.

    Only one thread at a time may use a network; the job queue's worker is that thread.
    """

    def __init__(self, folders: Sequence[Path] = (), device: Callable[[], str] = lambda: "cpu") -> None:
        """`folders` hold a folder for each network, called as `Preprocessor.network` says; `device` tells where it
        computes."""
        self._folders, self._device = tuple(folders), device
        self._kept: tuple[tuple[Path, FileVersion | None, Load], Callable[[Pixels], Any]] | None = None

    def control_map(self, item: Preprocessor, picture: Pixels, values: Values) -> Pixels:
        """The map that `item` makes of `picture`, (H, W, 3), or (H, W, 4) with its mask where the item takes one.

        Raises InvalidInput where a network is missing, and CheckpointError where it cannot be used.
        """
        return self.map_and_people(item, picture, values)[0]

    def map_and_people(self, item: Preprocessor, picture: Pixels, values: Values) -> tuple[Pixels, People | None]:
        """`control_map`, and the people in it where it shows such."""
        if item.compute:
            return item.compute(picture, values), None
        path = self._find(item)
        load, as_map = recipes()[item.name]
        answer = self._network(path, load)(scaled(picture, values.resolution))
        return as_map(answer, values), answer if isinstance(answer, People) else None

    def _network(self, path: Path, load: Load) -> Callable[[Pixels], Any]:
        key = (path, file_version(path), load)
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, load(path, self._device())
        return self._kept[1]

    def _find(self, item: Preprocessor) -> Path:
        """The file of weights, or the folder in transformers' layout."""
        for folder in self._folders:
            here = folder / item.network
            if not item.file and (here / CONFIG).is_file():
                return here
            for suffix in SUFFIXES:
                if item.file and (path := here / f"{item.file}{suffix}").is_file():
                    return path
        where = (self._folders[0] if self._folders else Path("models/annotators")) / item.network
        what = f"the file {item.file}{item.suffix}" if item.file else (
            "a network in transformers' layout (config.json, preprocessor_config.json, model.safetensors)")
        raise InvalidInput(f"The preprocessor {item.title} needs {what} in {where}.", field="module")


def recipes() -> dict[str, tuple[Load, Callable[[Any, Values], Pixels]]]:
    """By the preprocessor's name, what reads its network, and what makes the map of the network's answer."""
    from modules.networks.annotators import depth, line_art, pose, soft_edges

    return {
        "depth": (depth.load_depth, lambda near, values: depth.depth_map(near)),
        "depth_anything": (depth.load_depth, lambda near, values: depth.depth_map(near)),
        "depth_anything_v2": (depth.load_depth, lambda near, values: depth.depth_map(near)),
        "normal_map": (depth.load_depth, lambda near, values: depth.normal_map(near, values.a)),
        "hed": (soft_edges.load_soft_edges, lambda edges, values: soft_edges.soft_edge_map(edges)),
        "hed_safe": (soft_edges.load_soft_edges, lambda edges, values: soft_edges.safe_edge_map(edges)),
        "scribble_hed": (soft_edges.load_soft_edges, lambda edges, values: soft_edges.scribble_map(edges)),
        "openpose": (pose.load_poses, lambda people, values: drawn(people)),
        "openpose_hand": (pose.load_poses_and_hands, lambda people, values: drawn(people)),
        "lineart": (line_art.load_line_art, lambda lines, values: lines),
        "lineart_coarse": (line_art.load_line_art, lambda lines, values: lines)}
