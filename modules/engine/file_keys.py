"""What the parameters text says of the model files: their names and hashes."""

from __future__ import annotations

from typing import Any

from modules.request import Txt2Img
from modules.weights.catalog import Catalog, CheckpointFile, VaeFile


def file_keys(checkpoint: CheckpointFile, vae: VaeFile | None, catalog: Catalog) -> dict[str, Any]:
    """Names and short hashes of the files, as keyword arguments of `infotext.write`. Raises NotFound."""
    return {"model_name": checkpoint.name, "model_hash": catalog.sha256(checkpoint)[:10],
            "vae_name": vae.name if vae else None, "vae_hash": catalog.sha256(vae)[:10] if vae else None}


def refiner_keys(request: Txt2Img, catalog: Catalog, *, refined: bool) -> dict[str, Any]:
    """The keys about the refiner, which are more for a picture that it has `refined`. Raises NotFound."""
    keys: dict[str, Any] = {}
    if refined:
        refiner = catalog.find(request.refiner_checkpoint)
        keys |= {"Refiner": f"{refiner.name} [{catalog.sha256(refiner)[:10]}]",
                 "Refiner switch at": request.refiner_switch_at}
    if request.options.refiner_switch_by_sample_steps:
        keys["Refiner switch by sampling steps"] = True
    return keys
