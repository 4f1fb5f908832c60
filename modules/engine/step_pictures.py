"""Recorded latents drawn by the autoencoder, as the result is drawn: slower than a recording's rough pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.errors import InvalidInput

if TYPE_CHECKING:
    from PIL import Image

    from modules.engine.engine import Engine
    from modules.gallery.steps import Steps


def decoded(engine: Engine, steps: Steps, call: int, shown: str, image: int) -> Image.Image:
    """The picture that the autoencoder of the model in use makes of a recorded latent; see `Steps.latent`.

    For any thread: the autoencoder serves one at a time. Raises NotFound for a latent that there is not, and
    InvalidInput if another checkpoint is in use than the one that made the recording.
    """
    import torch

    from modules.imaging import tensors

    latent = torch.from_numpy(steps.latent(call, shown, image))
    made_by = steps.about["calls"][call]["checkpoint"]
    loaded = engine.loaded
    if loaded is None or loaded.model.name != made_by:
        raise InvalidInput(f"Only the checkpoint that made this recording can draw it: {made_by}, which is not in use "
                           "now.", field="decoded")
    return tensors.to_image(loaded.model.decode_latent(latent[None])[0].float().cpu())
