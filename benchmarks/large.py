"""python -m benchmarks large: a checkpoint of SDXL's full size on the CPU, in float32 from a file in half precision.

Loading is compared with its floor (see `loading`). The peak of memory is that of a process that loads the checkpoint
and makes a picture of 512 x 512 in one step. A call of the UNet with two rows is compared with one of diffusers' UNet
of the same shape, each in a process of its own, because the two do not fit into memory together. With one thread, CPU
time is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import checkpoint
from benchmarks.loading import measured, weights_gb
from benchmarks.timing import Row, child, interleaved, medians

CALLS = 2
CONFIG = {"in_channels": 4, "out_channels": 4, "block_out_channels": (320, 640, 1280), "layers_per_block": 2,
          "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20), "transformer_layers_per_block": (1, 2, 10),
          "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
          "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "use_linear_projection": True,
          "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
          "projection_class_embeddings_input_dim": 2816}


def run(cache: Path, *, threads: int, rounds: int) -> list[Row]:
    """Load, memory, and a call of the UNet."""
    path = checkpoint("sdxl", cache)
    measured("read", path, threads)  # brings the file into the page cache
    peaks: list[float] = []

    def loaded() -> list[float]:
        figures = measured("ours", path, threads)
        peaks.append(figures["anonymous"])
        return [figures["seconds"]]

    seconds = medians(interleaved({"ours": loaded, "floor": lambda: [measured("floor", path, threads)["seconds"]]},
                                  rounds))
    weights, made = weights_gb(path), measured("picture", path, threads)
    calls = medians(interleaved(
        {who: lambda who=who: child("benchmarks.large", who, path, threads) for who in WHO}, rounds))
    return [
        Row("Load SDXL, 6.9 GB (fp16 file to float32)", seconds["ours"], seconds["floor"],
            "reading the file + writing the weights once", "s", 1.5),
        Row("Peak memory of the load of SDXL, own pages", max(peaks), weights, "the float32 weights", "GB", 1.3),
        Row("Peak memory of its load and of a step at 512 x 512", made["anonymous"], weights, "the float32 weights",
            "GB", 1.3),
        Row("A call of SDXL's UNet, two rows, 512 x 512", calls["ours"], calls["diffusers"], "diffusers' UNet", "s"),
    ]


# What the child processes do: each returns a call of a UNet.


def ours(path: Path) -> Callable[[], object]:
    """Ours, packed, with the checkpoint's weights."""
    import torch

    from modules.networks.loader import load_model
    from modules.sampling.conditioning import TextOptions, stack
    from modules.weights.catalog import CheckpointFile

    model = load_model(CheckpointFile(path, path.name), device=torch.device("cpu"), dtype=torch.float32)
    texts = model.encode_prompts(["a lighthouse on a cliff", "rain"], TextOptions())
    x = torch.randn(2, 4, 64, 64)
    level = model.levels.at_t(500)
    return lambda: model.predict(x, level, stack(texts))


def diffusers(path: Path) -> Callable[[], object]:
    """diffusers' UNet of the same shape."""
    import torch

    unet = empty_unet(CONFIG)
    x, words = torch.randn(2, 4, 64, 64), torch.randn(2, 77, 2048)
    added = {"text_embeds": torch.randn(2, 1280), "time_ids": torch.tensor([[512.0, 512, 0, 0, 512, 512]] * 2)}
    return lambda: unet(x, 500, words, added_cond_kwargs=added)


def empty_unet(config: dict[str, Any]) -> Any:
    """diffusers' UNet with small weights: what they are changes no time."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**config)
    unet.to_empty(device="cpu").requires_grad_(False).eval()
    for parameter in unet.parameters():
        parameter.uniform_(-0.01, 0.01)
    return unet


WHO = {"ours": ours, "diffusers": diffusers}


def main(who: str, path: Path, threads: int) -> None:
    """Print the seconds of some calls as JSON. A first one, which packs, is not counted."""
    import torch

    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    call, seconds = WHO[who](path), []
    with torch.inference_mode():
        for _ in range(CALLS + 1):
            began = clock()
            call()
            seconds.append(clock() - began)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
