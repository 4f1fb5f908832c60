"""Parts that take turns on a GPU. There is none here: the moves are recorded, and weights go to the device "meta"."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from golden.tiny import checkpoint
from networks.loading import load
from networks.patches.files import write
from torch import nn

from modules.engine.models import turns_of
from modules.networks.model import DiffusionModel
from modules.networks.patches.lora import Lora, read_lora
from modules.networks.patches.patches import Patches
from modules.networks.turns import CPU, Placement, Turns, move, place
from modules.networks.widening import fetch, fetches
from modules.sampling.conditioning import TextOptions, stack
from modules.settings import Settings

GPU, META = torch.device("cuda"), torch.device("meta")
SIZES = {"unet": 50, "vae": 5, "clip_l": 10, "t5": 40}


@pytest.mark.parametrize(("free", "wanted", "turns", "by_layer"), [
    (1000, "auto", False, ()), (1000, "medvram", True, ()), (1000, "lowvram", True, ("unet",)),
    (100, "auto", True, ()),  # 85 are there, and 105 wanted; each part fits, and both text encoders together
    (57, "auto", True, ("unet", "t5")),  # 48 are there: the UNet does not fit, nor do the text encoders together
    (10, "medvram", True, ("unet", "t5", "clip_l")),
])
def test_what_is_placed_where(free: int, wanted: str, turns: bool, by_layer: tuple[str, ...]) -> None:
    assert place(SIZES, free, wanted) == Placement(turns, frozenset(by_layer))


class Recorded:
    """A GPU on paper: where each module is, and the order in which they arrived."""

    def __init__(self, free: int = 10**12, wanted: str = "medvram") -> None:
        self.there: list[nn.Module] = []
        self.arrived: list[nn.Module] = []
        self.turns = Turns(GPU, wanted, lambda: free, self.move)

    def move(self, module: nn.Module, device: torch.device) -> None:
        if device == GPU and module not in self.there:
            self.there.append(module)
            self.arrived.append(module)
        elif device == CPU:
            self.there.remove(module)

    def watch(self, model: DiffusionModel) -> None:
        """Each layer that computes belongs to a part that is there, and the parts of other turns are not."""
        texts = [part for name, part in model.parts.items() if name not in ("unet", "vae")]
        for part in model.parts.values():
            group = texts if part in texts else [part]
            for layer in part.modules():
                if not list(layer.children()):
                    layer.register_forward_pre_hook(lambda *_, group=group: self.check(group))

    def check(self, group: list[nn.Module]) -> None:
        assert set(self.there) == set(group)


def answers(model: DiffusionModel) -> list[torch.Tensor]:
    """What each part answers, in the order of an inpainting."""
    cond = stack(model.encode_prompts(["a cat"], TextOptions()))
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    latent = model.encode_image(image)
    out = model.predict(latent, model.levels.at_t(500), cond)
    out = out + model.predict(latent, model.levels.at_t(400), cond)
    return [cond.tokens, latent, out, model.decode_latent(out), model.preview(latent[0])]


@pytest.mark.parametrize("name", ["tiny-sdxl", "tiny-sd3"])
def test_each_part_is_there_when_it_computes_and_the_others_are_not(name: str) -> None:
    gpu = Recorded()
    model = load(checkpoint(name), turns=gpu.turns)
    assert gpu.there == []
    gpu.watch(model)
    for waiting, plain in zip(answers(model), answers(load(checkpoint(name))), strict=True):
        assert torch.allclose(waiting, plain, atol=1e-5)
    texts = [part for part in model.parts if part not in ("unet", "vae")]
    order = [next(name for name, part in model.parts.items() if part is module) for module in gpu.arrived]
    assert order == [*texts, "vae", "unet", "vae"]  # two steps are one turn; the preview's colours are the decoder's


def test_where_everything_fits_nothing_moves() -> None:
    gpu = Recorded(wanted="auto")
    answers(load(checkpoint("tiny-sd15"), turns=gpu.turns))
    assert gpu.arrived == []


def test_what_does_not_fit_brings_its_layers(tiny: Path) -> None:
    """With the same answers."""
    gpu = Recorded(wanted="lowvram")
    model = load(tiny, turns=gpu.turns)
    assert any(map(fetches, model.unet.modules()))
    assert not any(map(fetches, model.vae.modules()))
    for by_layer, plain in zip(answers(model), answers(load(tiny)), strict=True):
        assert torch.allclose(by_layer, plain, atol=1e-4)  # packed layers round otherwise
    model = load(tiny, turns=Recorded(free=1000, wanted="auto").turns)
    assert any(map(fetches, model.parts["text"].modules()))


def test_another_vae_takes_turns_with_the_parts_that_do(tiny: Path, tmp_path: Path) -> None:
    gpu = Recorded(wanted="auto", free=1)
    model = load(tiny, turns=gpu.turns)
    assert gpu.turns.place({"vae": 0}, [model.unet]).turns
    assert not Recorded(wanted="auto").turns.place({"vae": 0}, [model.unet]).turns


def test_a_part_keeps_its_place_while_it_computes(tiny: Path) -> None:
    """A preview in another thread waits."""
    gpu = Recorded()
    model = load(tiny, turns=gpu.turns)
    got: list[bool] = []

    def other() -> None:
        got.append(gpu.turns._lock.acquire(blocking=False))

    def during(*_: object) -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    model.unet.register_forward_pre_hook(during)
    answers(model)
    assert got == [False, False]
    during()  # and it is free afterwards
    assert got[-1]


class Small(nn.Module):
    """Layers of each kind: two large ones, and what is too small to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(300, 256)
        self.norm = nn.LayerNorm(256)
        self.linear = nn.Linear(256, 256)
        self.register_buffer("places", torch.arange(4))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(self.embed(ids)))


def test_the_real_move() -> None:
    """Everything goes; of layers that fetch their weights only the weights stay, with their values."""
    part = Small()
    assert part(torch.arange(4)).device == CPU
    move(part, META)
    assert {tensor.device for tensor in (*part.parameters(), *part.buffers())} == {META}
    assert part(torch.arange(4, device=META)).device == META

    part = Small()
    values, ids = part.linear.weight.clone(), torch.arange(4)
    plain = part(ids)
    fetch(part)
    assert torch.equal(part(ids), plain)
    move(part, META)
    assert torch.equal(part.linear.weight, values)
    assert part.embed.weight.device == CPU
    assert {part.norm.weight.device, part.linear.bias.device, part.places.device} == {META}
    x = torch.ones(2, 256, device=META)
    assert part.linear(part.norm(x)).device == META


def test_a_weight_that_was_exchanged_meanwhile_comes_too() -> None:
    """As LoRAs do, in the part that is there."""
    turns, part = Turns(META, "medvram", lambda: 10**12), Small()
    turns.take([part])
    with turns.of(part)():
        part.linear.weight = nn.Parameter(torch.ones(256, 256))
    with turns.of(part)():
        assert part.linear.weight.device == META


def test_loras_are_put_on_where_parts_wait(tiny: Path, tmp_path: Path) -> None:
    """The weights that they replace would stay on the GPU otherwise, where there is no room for them."""
    gpu = Recorded()
    model = load(tiny, turns=gpu.turns)
    answers(model)
    assert gpu.there
    model.put_on(Patches())
    assert gpu.there
    plain = answers(model)
    lora = Lora(read_lora(write(tmp_path / "x.safetensors", model, "lora"), "x"))
    model.put_on(Patches(loras=(lora,)))
    assert not gpu.there
    assert not torch.equal(answers(model)[2], plain[2])


def test_only_a_gpu_has_turns() -> None:
    assert turns_of(Settings(medvram=True), CPU) is None
    assert turns_of(Settings(), torch.device("mps")) is None
    assert isinstance(turns_of(Settings(lowvram=True), GPU), Turns)
    assert Settings.from_argv(["--medvram", "--lowvram"], {}) == Settings(medvram=True, lowvram=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("wanted", ["medvram", "lowvram"])
def test_on_a_gpu(wanted: str) -> None:
    turns = Turns(GPU, wanted, lambda: 10**12)
    model = load(checkpoint("tiny-sdxl"), device=GPU, turns=turns)
    for waiting, plain in zip(answers(model), answers(load(checkpoint("tiny-sdxl"), device=GPU)), strict=True):
        assert torch.allclose(waiting, plain, atol=1e-3)
    assert next(model.unet.parameters()).device == CPU
