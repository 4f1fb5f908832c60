"""A family of another kind, written here: latents of 16 channels, flow prediction and a pooled vector. It goes through
txt2img, img2img and inpaint, and nothing outside this file knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.engine.engine import Engine
from modules.errors import CheckpointError
from modules.networks.families import FAMILIES
from modules.networks.families.family import Family, Part, some_name
from modules.networks.inputs import PLAIN
from modules.networks.loader import load_model
from modules.networks.text.words import Embedding
from modules.request import Img2Img, Inpaint, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.sampling.conditioning import Conditioning, TextOptions
from modules.sampling.latent import Latent
from modules.sampling.levels import FLOW, Flow
from modules.settings import Settings

CHANNELS, WIDTH = 16, 8


class Denoiser(nn.Module):
    """A velocity from x, the time, the words and the pooled vector; no UNet."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.Conv2d(CHANNELS, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, CHANNELS, 3, padding=1)
        self.words, self.pooled = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        assert cond.vector is not None
        told = self.words(cond.tokens.mean(1)) + self.pooled(cond.vector) + (t / 1000)[:, None]
        result: Tensor = self.write(F.silu(self.read(x) + told[:, :, None, None]))
        return result


class Autoencoder(nn.Module):
    """Eight by eight pixels are a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, CHANNELS, 8, stride=8), nn.ConvTranspose2d(CHANNELS, 3, 8, stride=8)

    def encode(self, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=self.down(x)))

    def decode(self, z: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (self.up(z),)


class Words:
    """A prompt as the vectors of its letters; their mean is the pooled vector."""

    def __init__(self, table: nn.Embedding) -> None:
        self.table = table

    def encode(self, texts: Sequence[str], how: TextOptions) -> Conditioning:
        letters = torch.tensor([[*text.encode()[:77].ljust(77)] for text in texts])
        tokens = self.table(letters)
        return Conditioning(tokens, tokens.mean(1))

    def take_words(self, embeddings: Iterable[Embedding]) -> None:
        """It takes none."""

    def embeddings_in(self, texts: Sequence[str], how: TextOptions) -> list[Embedding]:
        return []

    @property
    def widths(self) -> Mapping[str, int]:
        return {}


def part(name: str, build: Callable[[], nn.Module]) -> Part:
    return Part(name, name, f"new.{name}.", lambda header: None, lambda shape: build(), lambda key, shape: key)


def words(parts: Mapping[str, nn.Module], device: torch.device) -> Words:
    table = parts["text"]
    assert isinstance(table, nn.Embedding)
    return Words(table)


NEW = Family(
    name="new",
    label="a checkpoint of the test's own family",
    signs=(some_name(r"^new\.unet\."),),
    parts=(part("unet", Denoiser), part("vae", Autoencoder), part("text", lambda: nn.Embedding(256, WIDTH))),
    text=words,
    ask=lambda network, x, t, cond: network(x, t, cond),
    latent=Latent(CHANNELS, 8, scale=1.5305, shift=0.0609),
    levels=lambda header: Flow.shifted(3.0),
    prediction=lambda header: FLOW,
    inputs=lambda shape: PLAIN)

PICTURE = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
SMALL: dict[str, Any] = {"prompt": "a cat", "steps": 6, "width": 64, "height": 64, "seed": 5, "subseed": 0}


@pytest.fixture
def engine(tmp_path: Any) -> Engine:
    settings = Settings(data_dir=tmp_path)
    torch.manual_seed(0)
    tensors = {one.prefix + key: value for one in NEW.parts for key, value in one.build(None).state_dict().items()}
    settings.checkpoint_dirs[0].mkdir(parents=True)
    save_file(tensors, settings.checkpoint_dirs[0] / "new.safetensors")

    def load(checkpoint: Any, vae: Any, settings: Settings, on_progress: Any) -> Any:
        return load_model(checkpoint, vae=vae, device=torch.device("cpu"), dtype=torch.float32,
                          on_progress=on_progress, families=(NEW, *FAMILIES))

    return Engine(settings, load)


def pixels(engine: Engine, request: Txt2Img) -> np.ndarray:
    (made,) = engine.generate(request, NullJob()).images
    return np.asarray(made.image, int)


@pytest.mark.parametrize("sampler", ["DDIM", "Euler a", "DPM++ 2M", "UniPC", "Heun"])
def test_txt2img(engine: Engine, sampler: str) -> None:
    request = Txt2Img(sampler=sampler, **SMALL)
    first = pixels(engine, request)
    assert first.shape == (64, 64, 3)
    assert np.array_equal(pixels(engine, request), first)
    assert not np.array_equal(pixels(engine, replace(request, prompt="a dog")), first), "the words count"
    assert not np.array_equal(pixels(engine, replace(request, seed=6)), first)


def test_img2img_keeps_more_with_less_strength(engine: Engine) -> None:
    request = Img2Img(init_images=(PICTURE,), **SMALL)
    model = engine.load(request.options, NullJob())
    assert model.encode_image(torch.zeros(1, 3, 64, 64)).shape == (1, CHANNELS, 8, 8)
    autoencoded = pixels(engine, replace(request, denoising_strength=0.0))
    little, much = (pixels(engine, replace(request, denoising_strength=strength)) for strength in (0.2, 0.9))
    assert 0 < np.abs(little - autoencoded).mean() < np.abs(much - autoencoded).mean()


@pytest.mark.parametrize("options", [Options(), Options(ddim_loop="webui-1.10"), Options(small_mask="strong"),
                                     Options(step_cache=3), Options(tiling=True)],
                         ids=["classic", "webui-1.10", "small masks", "step cache", "tiling"])
def test_inpaint_keeps_what_is_kept(engine: Engine, options: Options) -> None:
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((16, 16, 39, 39), fill=255)
    request = Inpaint(init_images=(PICTURE,), mask=mask, mask_blur_x=0, mask_blur_y=0, options=options, **SMALL)
    made = pixels(engine, request)
    painted = np.asarray(mask) > 0
    assert np.array_equal(made[~painted], np.asarray(PICTURE, int)[~painted])
    assert not np.array_equal(made[painted], np.asarray(PICTURE, int)[painted])


def test_what_is_not_its_own_is_refused(engine: Engine) -> None:
    path = engine.settings.checkpoint_dirs[0] / "new.safetensors"
    tensors = {one.prefix + key: value for one in NEW.parts for key, value in one.build(None).state_dict().items()}
    save_file(tensors | {"new.unet.more": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"does not belong there: new\.unet\.more"):
        engine.load(Options(), NullJob())
