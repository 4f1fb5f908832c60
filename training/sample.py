"""The DDIM loop, with guidance and with an inpainting mask: all that evaluation needs, and nothing else."""

from __future__ import annotations

import torch
from model import alphas_cumprod
from torch import Tensor, nn


@torch.no_grad()
def ddim(unet: nn.Module, noise: Tensor, context: Tensor, empty: Tensor, steps: int = 20, guidance: float = 3.0,
         keep: Tensor | None = None, original: Tensor | None = None, begun: Tensor | None = None, last: int = 0
         ) -> Tensor:
    """Noise (B, 4, H, W) -> latents. context and empty: words (B, M, D). Where keep (B, 1, H, W) is 1 the original
    latents stay. begun: latents of which only the `last` steps are drawn."""
    kept = alphas_cumprod().to(noise.device)
    times = torch.arange(0, 1000, 1000 // steps)[:steps] + 1
    x = noise
    if begun is not None:
        start = kept[times[last - 1]]
        x = start.sqrt() * begun + (1 - start).sqrt() * noise
    for i in reversed(range(steps if begun is None else last)):
        now, after = kept[times[i]], kept[times[i - 1]] if i else kept[0]
        if keep is not None and original is not None:
            x = keep * (now.sqrt() * original + (1 - now).sqrt() * noise) + (1 - keep) * x
        time = times[i].to(noise.device).expand(2 * len(x))
        free, told = unet(torch.cat([x, x]), time, torch.cat([empty, context])).chunk(2)
        e = free + guidance * (told - free)
        clean = (x - (1 - now).sqrt() * e) / now.sqrt()
        x = after.sqrt() * clean + (1 - after).sqrt() * e
    if keep is not None and original is not None:
        x = keep * original + (1 - keep) * x
    return x
