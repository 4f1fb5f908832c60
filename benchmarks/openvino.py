"""python -m benchmarks openvino: the UNet of Stable Diffusion 1.5's size as OpenVINO's graph (`--cpu-engine`).

A call with two rows is compared with one of our packed layers, and with one of the graph that OpenVINO's own converter
makes of diffusers' UNet. Each contestant is a process of its own, because they do not fit into memory together; with
one thread CPU time is measured. The first call makes the graph and packs the weights. Peaks are of the process's own
pages, from before the load on. The converter runs once (a minute, 5 GB of memory, a file of 3.4 GB in the cache).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import checkpoint
from benchmarks.loading import CONFIG_UNET, Peaks, status
from benchmarks.timing import Row, child, medians

TARGET = 1.03
Call = Callable[[], object]


def run(cache: Path, *, size: int, calls: int, threads: int, rounds: int, converter: bool) -> list[Row]:
    """Calls, first calls and peaks at `size` x `size` pixels. `converter`: OpenVINO's own takes part."""
    path = checkpoint("sd15", cache)
    names = ["packed", "graph-f32", "graph-bf16", *(["converted-f32", "converted-bf16"] if converter else [])]
    if converter and not converted_file(path).exists():
        child("benchmarks.openvino", "convert", path, size, calls, threads)
    figures: dict[str, dict[str, list[float]]] = {what: {name: [] for name in names}
                                                  for what in ("call", "first", "peak")}
    for _ in range(rounds):
        for name in names:
            for what, values in child("benchmarks.openvino", name, path, size, calls, threads).items():
                figures[what][name] += values
    call, first, peak = (medians(figures[what]) for what in ("call", "first", "peak"))
    at = f"{size} x {size}"
    rows = []
    for dtype in ("f32", "bf16"):
        ours, theirs = f"graph-{dtype}", f"converted-{dtype}"
        rows.append(Row(f"UNet by OpenVINO, {dtype}, {at}", call[ours], call["packed"], "our packed layers, f32", "s"))
        if converter:
            rows.append(Row(f"UNet by OpenVINO, {dtype}, {at}", call[ours], call[theirs], "its own converter's graph",
                            "s", TARGET))
        rows += [Row(f"The first call, {dtype}, {at}", first[ours], first["packed"], "our packed layers, f32", "s"),
                 Row(f"Peak memory of load and calls, {dtype}, {at}", peak[ours], peak["packed"],
                     "our packed layers, f32", "GB")]
    return rows


def converted_file(path: Path) -> Path:
    """Where the converter's graph of a checkpoint's UNet lies."""
    return path.with_name(f"{path.stem}-unet.xml")


# What the child processes do.


def ours(path: Path, size: int, dtype: str, graph: bool) -> Call:
    """A call of the checkpoint's UNet."""
    import torch

    from modules.networks.loader import load_model
    from modules.sampling.conditioning import TextOptions, stack
    from modules.weights.catalog import CheckpointFile

    model = load_model(CheckpointFile(path, path.name), device=torch.device("cpu"),
                       dtype=torch.bfloat16 if dtype == "bf16" else torch.float32, openvino_from=0 if graph else None)
    texts = stack(model.encode_prompts(["a lighthouse on a cliff", "rain"], TextOptions()))
    x, level = torch.randn(2, 4, size // 8, size // 8), model.levels.at_t(500)
    return lambda: model.predict(x, level, texts)


def converted(path: Path, size: int, dtype: str, threads: int) -> Call:
    """A call of the converter's graph."""
    import torch

    from modules.networks.openvino_unet import library

    graph = library().Core().compile_model(str(converted_file(path)), "CPU", {
        "INFERENCE_PRECISION_HINT": dtype, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False})
    request = graph.create_infer_request()
    x, words = torch.randn(2, 4, size // 8, size // 8).numpy(), torch.randn(2, 77, 768).numpy()
    return lambda: request.infer([x, torch.tensor(500.0).numpy(), words], share_inputs=True)


def convert(path: Path) -> None:
    """Write what OpenVINO's converter makes of diffusers' UNet of that shape, for any size, batch and prompt."""
    import torch

    from benchmarks.large import empty_unet
    from modules.networks.openvino_unet import library

    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = empty_unet(CONFIG_UNET)

        def forward(self, x: torch.Tensor, t: torch.Tensor, words: torch.Tensor) -> Any:
            return self.unet(x, t, words, return_dict=False)[0]

    openvino = library()
    with torch.no_grad():
        model = openvino.convert_model(
            Bare(), example_input=(torch.randn(2, 4, 32, 32), torch.tensor(500.0), torch.randn(2, 77, 768)),
            input=[([-1, 4, -1, -1],), ([],), ([-1, -1, 768],)])
    openvino.save_model(model, converted_file(path), compress_to_fp16=False)


def main(name: str, path: Path, size: int, calls: int, threads: int) -> None:
    """Print the figures of one contestant as JSON."""
    import torch

    torch.set_num_threads(threads)
    if name == "convert":
        convert(path)
        print("null")
        return
    clock = time.process_time if threads == 1 else time.perf_counter
    peaks, before = Peaks(), status("RssAnon")
    peaks.start()
    kind, _, dtype = name.partition("-")
    began = clock()
    call = converted(path, size, dtype, threads) if kind == "converted" else ours(path, size, dtype, kind == "graph")
    prepared = clock() - began if kind == "converted" else 0.0  # what ours does at the first call
    seconds = []
    with torch.inference_mode():
        for _ in range(calls + 1):
            began = clock()
            call()
            seconds.append(clock() - began)
    peaks.over.set()
    peaks.join()
    print(json.dumps({"call": seconds[1:], "first": [seconds[0] + prepared],
                      "peak": [(peaks.anonymous - before) / 1e9]}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
