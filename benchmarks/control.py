"""python -m benchmarks control: what one ControlNet adds to a step of Stable Diffusion 1.5's size.

Ours is a run of the engine with a unit and one without; what they differ by in a step is compared with a call of our
own control network, and of diffusers' with the same weights, eager. All compute in float32. With one thread, CPU time
is measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.checkpoints import checkpoint
from benchmarks.timing import Row, interleaved, medians
from modules.engine.engine import Engine
from modules.networks.control.loading import Base, load_control
from modules.networks.control.network import ControlNetwork
from modules.request import ControlUnit, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import TextOptions, stack
from modules.settings import Settings

TARGET = 1.1


def run(cache: Path, *, size: int, calls: int, threads: int, rounds: int) -> list[Row]:
    """A step with and without, and the network alone."""
    from diffusers import ControlNetModel

    clock = time.thread_time if threads == 1 else time.perf_counter
    path = checkpoint("sd15", cache)
    theirs = ControlNetModel(cross_attention_dim=768).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "some.safetensors"
        save_file(theirs.state_dict(), file)
        engine = Engine(Settings(data_dir=Path(folder), ckpt_dir=path.parent, controlnet_dir=Path(folder),
                                 device="cpu"))
        unit = ControlUnit(module="none", model="some", image=Image.linear_gradient("L").resize((size, size)))

        def request(*units: ControlUnit, steps: int) -> Txt2Img:
            return Txt2Img(prompt="a lighthouse on a cliff", negative_prompt="rain", sampler="Euler", steps=steps,
                           seed=1, subseed=1, width=size, height=size, control_units=units,
                           options=Options(sd_model_checkpoint=path.name))

        def step(*units: ControlUnit) -> Callable[[], list[float]]:
            """The seconds of a step: of a longer run less a shorter one."""
            def work() -> list[float]:
                taken = []
                for steps in (1, 1 + calls):
                    began = clock()
                    engine.generate(request(*units, steps=steps), NullJob())
                    taken.append(clock() - began)
                return [(taken[1] - taken[0]) / calls]

            return work

        step(unit)()
        assert engine.loaded is not None
        model = engine.loaded.model
        ours = ControlNetwork("some", load_control(file, Base(model.unet), device=torch.device("cpu"),
                                                   dtype=torch.float32), torch.device("cpu"), torch.float32)
    words = stack(model.encode_prompts(["a lighthouse on a cliff", "rain"], TextOptions()))
    x, hint, level = torch.randn(2, 4, size // 8, size // 8), torch.rand(1, 3, size, size), model.levels.at_t(500)

    def alone(call: Callable[[], object]) -> Callable[[], list[float]]:
        def work() -> list[float]:
            began = clock()
            with torch.no_grad():
                call()
            return [clock() - began]

        return work

    own = alone(lambda: ours.ask(x, level, words, [hint]))
    diffusers = alone(lambda: theirs(x, 500, words.tokens, hint.expand(2, -1, -1, -1), return_dict=False))
    own()
    seconds = medians(interleaved({"with": step(unit), "without": step(), "own": own, "diffusers": diffusers}, rounds))
    added = seconds["with"] - seconds["without"]
    what = f"What a ControlNet adds to a step, sd15 {size} x {size}"
    return [Row(what, added, seconds["own"], "a call of the network", "s", TARGET),
            Row(what, added, seconds["diffusers"], "a call of diffusers' network", "s")]
