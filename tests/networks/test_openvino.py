"""The graph that OpenVINO computes gives what the network gives, and leaves to the network what it does not hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from golden.tiny import checkpoint
from networks.loading import level, load, said
from networks.patches.files import write
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modules.engine.models import openvino_from
from modules.errors import InvalidInput
from modules.networks import openvino_unet
from modules.networks.forwards import replaced
from modules.networks.model import DiffusionModel
from modules.networks.openvino_unet import LEAST, OpenVinoUNet
from modules.networks.parts import Parts
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patches import NOTHING, Patches
from modules.sampling.conditioning import Conditioning, Residuals
from modules.settings import CPU_ENGINES, PROJECT, Settings

ATOL = 2e-5
"""For noise of unit variance: another order of summing in float32."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that graphs were called with."""
    shapes: list[tuple[int, ...]] = []
    call = OpenVinoUNet.__call__

    def watched(self: OpenVinoUNet, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        shapes.append(tuple(x.shape))
        return call(self, x, *args, **kwargs)

    monkeypatch.setattr(OpenVinoUNet, "__call__", watched)
    return shapes


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def graph_of(model: DiffusionModel) -> OpenVinoUNet:
    assert isinstance(model.network.program, OpenVinoUNet)
    return model.network.program


def close(ours: Tensor, plain: Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(ours, plain, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["tiny-sd15-inpainting", "tiny-sd21-v", "tiny-sdxl", "tiny-sdxl-refiner"])
def test_one_graph_serves_all_sizes_batches_and_prompts(name: str, calls: list[tuple[int, ...]]) -> None:
    path = checkpoint(name)
    model, plain = load(path, openvino_from=0), load(path)
    channels = 4 + model.inputs.channels
    long = "a lighthouse on a cliff, " * 20
    for rows, height, width, text in ((1, 8, 8, "a dog"), (2, 9, 13, "a dog"), (3, 16, 8, long), (2, 5, 7, long)):
        x, cond = random(rows, channels, height, width), said(plain, *[text] * rows)
        assert cond.tokens.shape[1] == (77 if text != long else 154)
        close(model.predict(x, level(500), cond), plain.predict(x, level(500), cond))
    assert len(calls) == 4


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    """Its telemetry leaves files in the home folder, and connects."""
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    code = ("import sys, socket; socket.socket.connect = socket.create_connection = lambda *_: sys.exit('connects');"
            "from modules.networks.openvino_unet import library;"
            "assert library().Core().available_devices;"
            "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]")
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | home, cwd=PROJECT)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_heard_after_graphs_have_come_and_gone() -> None:
    code = ("import gc, os, signal, numpy as np\n"
            "from modules.networks.openvino_unet import core, library\n"
            "ov = library()\n"
            "from openvino import opset15 as op\n"
            "for hint in ('f32', 'bf16'):\n"
            "    x, w = op.parameter([1, 64, -1, -1], np.float32), op.constant(np.ones((64, 64, 3, 3), np.float32))\n"
            "    made = ov.Model([op.convolution(x, w, [1, 1], [1, 1], [1, 1], [1, 1])], [x])\n"
            "    run = core().compile_model(made, 'CPU', {'INFERENCE_PRECISION_HINT': hint})\n"
            "    run([np.zeros((1, 64, 32, 32), np.float32)])\n"
            "del run; gc.collect(); heard = []\n"
            "signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
            "os.kill(os.getpid(), signal.SIGINT)\n"
            "assert heard")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)


@pytest.fixture(scope="module")
def model(tiny: Path) -> DiffusionModel:
    return load(tiny, openvino_from=0)


def asked(rows: int = 1) -> tuple[Tensor, Any, Conditioning]:
    return random(rows, 4, 8, 8), level(400), Conditioning(random(rows, 77, 64, seed=1))


def test_other_weights_make_another_graph(model: DiffusionModel, sd_model: DiffusionModel, tmp_path: Path,
                                          calls: list[tuple[int, ...]]) -> None:
    before = model.predict(*asked())
    lora = Patches(loras=(Lora(read_lora(write(tmp_path / "x.safetensors", sd_model, "lora"), "x")),))
    for one in (model, sd_model):
        one.put_on(lora)
    patched, expected = model.predict(*asked()), sd_model.predict(*asked())
    for one in (model, sd_model):
        one.put_on(NOTHING)
    close(patched, expected)
    assert (patched - before).abs().max() > 100 * ATOL
    assert torch.equal(model.predict(*asked()), before)

    assert len(calls) == 3


def test_weights_of_halves_that_a_lora_overwrites_make_another_graph(tiny: Path, tmp_path: Path) -> None:
    save_file({key: value.half() for key, value in load_file(tiny).items()}, tmp_path / "half.safetensors")
    ours, plain = load(tmp_path / "half.safetensors", openvino_from=0), load(tmp_path / "half.safetensors")
    before = ours.predict(*asked())
    lora = Patches(loras=(Lora(read_lora(write(tmp_path / "x.safetensors", plain, "lora"), "x")),))
    for one in (ours, plain):
        one.put_on(lora)
    patched = ours.predict(*asked())
    close(patched, plain.predict(*asked()))
    assert (patched - before).abs().max() > 100 * ATOL
    ours.put_on(NOTHING)
    assert torch.equal(ours.predict(*asked()), before)


def watched(layer: nn.Module) -> Callable[[], None]:
    return layer.register_forward_hook(lambda *args: args[2] * 3).remove


@pytest.mark.parametrize("how", ["patched", "watched", "tiled", "features"])
def test_what_the_graph_does_not_hold_is_left_to_the_network(how: str, model: DiffusionModel, sd_model: DiffusionModel,
                                                             calls: list[tuple[int, ...]]) -> None:
    """And the packed weights are given back before the layers pack their own. Then the graph is there again."""
    x, at, cond = asked(2)
    before = model.predict(x, at, cond)
    graph = graph_of(model)
    assert graph.nbytes > 0
    last = model.unet.get_submodule("conv_out")
    if how == "features":
        channels = [block.resnets[-1].conv2.out_channels for block in model.unet.down_blocks]  # type: ignore[union-attr]
        sizes = [8, 4, 2, 1][:len(channels)]
        told = Conditioning(cond.tokens, residuals=Residuals(features=tuple(
            random(1, width, size, size) for width, size in zip(channels, sizes, strict=True))))
        close(model.predict(x, at, told), sd_model.predict(x, at, told))
    elif how == "tiled":
        with model.tiled(), sd_model.tiled():
            close(model.predict(x, at, cond), sd_model.predict(x, at, cond))
    elif how == "patched":
        with replaced({last: lambda x, forward=last.forward: forward(x) * 3}):
            close(model.predict(x, at, cond), before * 3, ATOL * 3)
    else:
        remove = watched(last)
        close(model.predict(x, at, cond), before * 3, ATOL * 3)
        remove()
    assert len(calls) == 1
    assert graph.nbytes == 0
    assert torch.equal(model.predict(x, at, cond), before)
    assert len(calls) == 2


def test_control_networks_add_to_the_graph(model: DiffusionModel, sd_model: DiffusionModel,
                                           calls: list[tuple[int, ...]]) -> None:
    x, at, cond = asked(2)
    model.predict(x, at, cond)
    channels = graph_of(model)._nothing
    shapes: list[tuple[int, ...]] = []
    with replaced({sd_model.unet.get_submodule("mid_block"): seen(sd_model, shapes)}):
        sd_model.predict(x, at, cond)
    assert len(shapes) == len(channels)
    whole = [random(2, *shape, seed=n) for n, shape in enumerate(shapes)]
    flat = [random(2, shape[0], 1, 1, seed=n) for n, shape in enumerate(shapes)]
    for residuals in (whole, flat):
        told = Conditioning(cond.tokens, residuals=Residuals(tuple(residuals[:-1]), residuals[-1]))
        added = model.predict(x, at, told)
        close(added, sd_model.predict(x, at, told), 5 * ATOL)
        assert (added - sd_model.predict(x, at, cond)).abs().max() > 0.01
    assert len(calls) == 3


def seen(model: DiffusionModel, shapes: list[tuple[int, ...]]) -> Callable[..., Tensor]:
    """A forward of the middle block that notes the shapes of the skip connections and of its own answer."""
    unet: Any = model.unet
    forward = unet.mid_block.forward

    def note(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        height, width = 8, 8
        shapes.append((unet.conv_in.out_channels, height, width))
        for block in unet.down_blocks:
            shapes.extend((layer.conv2.out_channels, height, width) for layer in block.resnets)
            for sampler in block.downsamplers or ():
                height, width = height // 2, width // 2
                shapes.append((sampler.conv.out_channels, height, width))
        shapes.append(tuple(x.shape[1:]))
        answer: Tensor = forward(x, *args, **kwargs)
        return answer

    return note


def test_windows_and_deep_features_work_as_ever(model: DiffusionModel, sd_model: DiffusionModel,
                                                calls: list[tuple[int, ...]]) -> None:
    x, at, cond = random(2, 4, 8, 16), level(700), Conditioning(random(2, 77, 64))
    plain = sd_model.predict(x, at, cond)
    window = model.window((4, 0, 12, 8), (16, 8))
    assert window is not None
    with window.recording() as memory:
        close(model.predict(x, at, cond), plain, 5e-5)
    left, top, right, bottom = window.box
    with window.inside(memory, memory, 0.0):
        part = model.predict(x[:, :, top:bottom, left:right], at, cond)
    close(part, plain[:, :, top:bottom, left:right], 5e-5)
    window.close()
    cache = model.deep_cache()
    assert cache is not None
    close(cache.step(True)(x, at, cond), plain, 5e-5)
    assert calls == []
    close(model.predict(x, at, cond), plain)
    assert calls == [(2, 4, 8, 16)]


def test_bfloat16_gives_nearly_the_same(tiny: Path, sd_model: DiffusionModel, calls: list[tuple[int, ...]]) -> None:
    """Its packed weights stay while a layer is patched: PyTorch's layers pack none."""
    half = load(tiny, denoiser_dtype=torch.bfloat16, openvino_from=0)
    assert half.vae.dtype == half.text.clip.dtype == torch.float32  # type: ignore[attr-defined]
    ours, exact = half.predict(*asked(2)), sd_model.predict(*asked(2))
    assert ours.dtype == torch.float32
    assert 0 < (ours - exact).norm() < 0.03 * exact.norm()
    with half.tiled():
        half.predict(*asked(2))
    assert len(calls) == 1
    assert graph_of(half).nbytes == sum(weight.nbytes for weight in half.unet.parameters())


def test_models_of_one_network_have_one_graph(tiny: Path) -> None:
    parts = Parts()
    first, second = (load(tiny, parts=parts, openvino_from=0) for _ in range(2))
    bare = sum(first.part_bytes.values())
    first.predict(*asked())
    assert graph_of(first) is graph_of(second)
    assert first.part_bytes == second.part_bytes
    assert sum(first.part_bytes.values()) == bare + graph_of(first).nbytes > bare


def test_without_room_the_network_runs_as_it_is(tiny: Path, sd_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch,
                                                calls: list[tuple[int, ...]], caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(openvino_unet, "free_memory", lambda device: 1000)
    model = load(tiny, openvino_from=0)
    for _ in range(2):
        close(model.predict(*asked()), sd_model.predict(*asked()))
    assert calls == []
    assert len(caplog.messages) == 1
    assert "GB more memory" in caplog.text


def test_what_openvino_refuses_runs_as_it_is(tiny: Path, sd_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch,
                                             caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_unet, "_compiled", refuse)
    close(load(tiny, openvino_from=0).predict(*asked()), sd_model.predict(*asked()))
    assert "no such operation" in caplog.text


def test_small_networks_others_and_other_types_have_none(tiny: Path) -> None:
    assert load(tiny, openvino_from=LEAST).network.program is None
    assert load(tiny, openvino_from=0, dtype=torch.float16).network.program is None
    assert load(checkpoint("tiny-sd3"), openvino_from=0).network.program is None


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize("engine", CPU_ENGINES)
@pytest.mark.parametrize("installed", [True, False])
def test_the_flag_chooses(engine: str, faster: bool, installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_unet, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr("modules.settings.importlib.util.find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512" if faster else "AVX2")
    refused = engine == "openvino" and not installed
    with pytest.raises(InvalidInput, match="pip install") if refused else nullcontext():
        chosen = openvino_from(Settings(cpu_engine=engine))
        assert chosen == {"torch": None, "openvino": 0}.get(engine, LEAST if installed and faster else None)
