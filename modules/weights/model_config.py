"""The YAML file beside a checkpoint, where WebUI looks for what a model's tensors do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from modules.errors import CheckpointError
from modules.weights.catalog import bare_name

LARGEST = 100_000
"""Bytes. Those of real models have three thousand."""

SCALINGS = {"EpsScaling": "eps", "VScaling": "v"}
"""The classes by which Stability's generative-models say what a network predicts."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML of plain values: no code, and no aliases, with which a small file can describe a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases")
        return super().compose_node(parent, index)


def config_path(checkpoint: Path) -> Path:
    """Where a checkpoint's YAML file lies if it has one."""
    return checkpoint.with_name(f"{bare_name(checkpoint)}.yaml")


def read_config(checkpoint: Path) -> dict[str, str]:
    """What the YAML file says, under the names that these facts have in metadata: `parameterization` ("eps" or "v"),
    `unet_heads`, `unet_head_channels`. Empty where there is no file.

    Raises CheckpointError: the file is no model's configuration, or asks for what there is not.
    """
    path = config_path(checkpoint)
    if not path.is_file():
        return {}
    found = _parsed(path)
    params = _mapping(path, found, "model", "params")
    unet = _mapping(path, params, "unet_config" if "unet_config" in params else "network_config", "params")
    scaling = str(_mapping(path, params, "denoiser_config", "params", "scaling_config").get("target", ""))
    predicts = params.get("parameterization", SCALINGS.get(scaling.rpartition(".")[2]))
    if predicts not in (None, *SCALINGS.values()):
        raise CheckpointError(f"{path.name} asks for the parameterization {str(predicts)[:40]!r}; this program knows "
                              "eps and v.")
    facts = {"unet_heads": unet.get("num_heads"), "unet_head_channels": unet.get("num_head_channels")}
    facts = {name: str(_whole(path, value)) for name, value in facts.items() if value not in (None, -1)}
    return facts | ({"parameterization": predicts} if predicts else {})


def _parsed(path: Path) -> Any:
    """Raises CheckpointError."""
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(f"{path.name} is too long to be a model's configuration.")
        found = yaml.load(path.read_bytes(), Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path.name} beside the checkpoint is not plain YAML. Correct it or remove it.") \
            from error
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    if not isinstance(found, Mapping) or "model" not in found:
        raise CheckpointError(f'{path.name} beside the checkpoint is no model\'s configuration: it has no "model". '
                              "Correct it or remove it.")
    return found


def _mapping(path: Path, found: Any, *keys: str) -> Mapping[str, Any]:
    """The mapping behind `keys`; empty where it is not there. Raises CheckpointError where it is something else."""
    for key in keys:
        found = found.get(key)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise CheckpointError(f'{path.name} beside the checkpoint is no model\'s configuration: its "{key}" has no '
                                  "entries. Correct it or remove it.")
    return cast(Mapping[str, Any], found)


def _whole(path: Path, value: Any) -> int:
    if type(value) is not int or not 0 < value < 10_000:
        raise CheckpointError(f"{path.name} has {str(value)[:40]!r} where a number of heads or channels should be.")
    return value
