"""What the parameters text says of the model files: their names and hashes."""

from __future__ import annotations

from typing import Any

from modules.request import Txt2Img
from modules.weights.catalog import Catalog, CheckpointFile, VaeFile


def file_keys(request: Txt2Img, checkpoint: CheckpointFile, vae: VaeFile | None, catalog: Catalog) -> dict[str, Any]:
    """Names and short hashes of the request's files, as keyword arguments of `infotext.write`. Raises NotFound."""

    def title(name: str) -> str | None:
        file = catalog.find(name) if name else None
        return f"{file.name} [{catalog.sha256(file)[:10]}]" if file else None

    return {"model_name": checkpoint.name, "model_hash": catalog.sha256(checkpoint)[:10],
            "vae_name": vae.name if vae else None, "vae_hash": catalog.sha256(vae)[:10] if vae else None,
            "hires_title": title(request.hr_checkpoint if request.enable_hr else ""),
            "refiner_title": title(request.refiner_checkpoint)}
