"""What is said of a file by its header alone."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
import torch
from make_tiny import SHAPES
from networks.loading import load
from safetensors.torch import load_file, save_file

from modules import cli
from modules.errors import CheckpointError, InvalidInput
from modules.networks.combining import NO_SPARE, SpareFiles
from modules.networks.doctor import examine, header_of_text
from modules.networks.families import FAMILIES
from modules.networks.families.others import VAE_FILE
from modules.networks.shapes import Header
from modules.settings import Settings
from modules.ui.tabs.doctor import said_html

FULL_SIZE = Path(__file__).resolve().parents[3] / "shared" / "golden" / "full-size"


def header(fixture: str, name: str = "it.safetensors") -> Header:
    path = FULL_SIZE / f"{fixture}.json"
    if not path.exists():
        pytest.skip("the shapes of full-size files are not here")
    return Header(name, {key: tuple(shape) for key, shape in json.loads(path.read_text()).items()}, {})


CHECKPOINT = "It loads. Its place is models/Stable-diffusion."
SAID = {
    "lora-sdxl": ["it.safetensors is a LoRA file for Stable Diffusion XL.",
                  "Put it into models/Lora and name it in a prompt: <lora:it:1>."],
    "lora-sd15": ["it.safetensors is a LoRA file for Stable Diffusion 1.x.",
                  "Put it into models/Lora and name it in a prompt: <lora:it:1>."],
    "control-sd15": ["it.safetensors is a ControlNet file for Stable Diffusion 1.x.", "Put it into models/ControlNet."],
    "control-sdxl": ["it.safetensors is a ControlNet file for Stable Diffusion XL.", "Put it into models/ControlNet."],
    "t2iadapter-sd15": ["it.safetensors is a T2I-Adapter file.", "Put it into models/ControlNet."],
    "textual-inversion-sd15": ["it.safetensors is a textual inversion embedding for Stable Diffusion 1.x.",
                               "Put it into embeddings; its name is a word of prompts: it."],
    "textual-inversion-sdxl": ["it.safetensors is a textual inversion embedding for Stable Diffusion XL.",
                               "Put it into embeddings; its name is a word of prompts: it."],
    "esrgan-x4-old": ["it.safetensors is an upscaler.",
                      "Put it into models/ESRGAN; Extras, hires fix and SD upscale offer it."],
    "esrgan-x4-new": ["it.safetensors is an upscaler.",
                      "Put it into models/ESRGAN; Extras, hires fix and SD upscale offer it."],
    "esrgan-x4-trunk": ["it.safetensors is an upscaler.",
                        "Put it into models/ESRGAN; Extras, hires fix and SD upscale offer it."],
    "vae-ldm": ["it.safetensors is a VAE file for Stable Diffusion 1.x, 2.x or XL.",
                "Put it into models/VAE and choose it under VAE."],
    "flux-ae": ["it.safetensors is a VAE file for latents of 16 channels (Stable Diffusion 3 or Flux).",
                "Put it into models/VAE and choose it under VAE."],
    "clip-l-part": ["it.safetensors is a text encoder (CLIP ViT-L).",
                    "Put it into models/text_encoder; checkpoints that lack theirs use it."],
    "openclip-h-part": ["it.safetensors is a text encoder (OpenCLIP).",
                        "Put it into models/text_encoder; checkpoints that lack theirs use it."],
    "flux-dev": ["it.safetensors is a Flux checkpoint.", "This program cannot use it."],
    "flux-schnell": ["it.safetensors is a Flux checkpoint.", "This program cannot use it."],
    "z-image": ["it.safetensors is a Z-Image checkpoint.", "This program cannot use it."],
    "sdxl-base": ["it.safetensors is a Stable Diffusion XL checkpoint.",
                  "It predicts noise (eps), and is made for pictures of 1024 x 1024.", CHECKPOINT],
    "sd15-inpainting": ["it.safetensors is a Stable Diffusion 1.x checkpoint.",
                        "It predicts noise (eps), and is made for pictures of 512 x 512.",
                        "It is an inpainting checkpoint.", CHECKPOINT],
    "sd15-pix2pix": ["it.safetensors is a Stable Diffusion 1.x checkpoint.",
                     "It predicts noise (eps), and is made for pictures of 512 x 512.",
                     "It changes a picture as the prompt tells (InstructPix2Pix).", CHECKPOINT],
    "sd2-depth": ["it.safetensors is a Stable Diffusion 2.x checkpoint.",
                  "It predicts noise (eps), and is made for pictures of 512 x 512.",
                  "It keeps the depth of a picture.", CHECKPOINT],
    "sd3-medium-incl-clips": ["it.safetensors is a Stable Diffusion 3 checkpoint.",
                              "It predicts a flow's velocity, and is made for pictures of 1024 x 1024.",
                              "It has no third text encoder (T5), and does without.", CHECKPOINT],
    "sd3-medium": ["it.safetensors is a Stable Diffusion 3 checkpoint.",
                   "It predicts a flow's velocity, and is made for pictures of 1024 x 1024.",
                   "It has no first text encoder (CLIP ViT-L), and no file here fits.",
                   "It has no second text encoder (OpenCLIP ViT-bigG), and no file here fits.",
                   "It has no third text encoder (T5), and does without.",
                   "It cannot be loaded as it is."],
}


@pytest.mark.parametrize("fixture", SAID)
def test_real_files(fixture: str) -> None:
    assert examine(header(fixture), NO_SPARE) == SAID[fixture]


@pytest.mark.parametrize("path", sorted(FULL_SIZE.glob("*.json")), ids=lambda path: path.stem)
def test_each_real_file_is_of_one_kind(path: Path) -> None:
    found = [kind.label for kind in (*FAMILIES, VAE_FILE) if kind.recognises(header(path.stem))]
    assert len(found) == 1


def test_a_unet_alone_is_told_from_its_shapes_and_the_files_that_fit_are_named(tmp_path: Path) -> None:
    whole = {key: torch.zeros(shape) for key, shape in json.loads((SHAPES / "tiny-sd15.json").read_text()).items()
             if "." in key}
    text, vae = "cond_stage_model.transformer.", "first_stage_model."
    save_file({key.removeprefix(text): value for key, value in whole.items() if key.startswith(text)},
              tmp_path / "text.safetensors")
    save_file({key.removeprefix(vae): value for key, value in whole.items() if key.startswith(vae)},
              tmp_path / "vae.safetensors")
    unet = {key.removeprefix("model.diffusion_model."): tuple(value.shape) for key, value in whole.items()
            if key.startswith("model.diffusion_model.")}
    alone = Header("unet.safetensors", unet, {})
    assert examine(alone, NO_SPARE)[2:] == ["It has no autoencoder (VAE), and no file here fits.",
                                            "It has no text encoder, and no file here fits.",
                                            "It cannot be loaded as it is."]
    assert examine(alone, SpareFiles([tmp_path]))[2:] == [
        "It has no autoencoder (VAE); vae.safetensors fits and is used.",
        "It has no text encoder; text.safetensors fits and is used.", CHECKPOINT]


def test_a_checkpoint_of_a_unet_alone_loads_with_the_parts_that_fit(tiny: Path, tmp_path: Path) -> None:
    """The model is that of the whole file."""
    whole = load_file(tiny)
    parts = tmp_path / "parts"
    parts.mkdir()
    for name, prefix in (("text", "cond_stage_model.transformer."), ("vae", "first_stage_model."),
                         ("unet", "model.diffusion_model.")):
        folder = tmp_path if name == "unet" else parts
        save_file({key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)},
                  folder / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"unet.safetensors has no autoencoder \(VAE\) and no text encoder"):
        load(tmp_path / "unet.safetensors")
    combined, original = load(tmp_path / "unet.safetensors", spare=SpareFiles([parts])), load(tiny)
    for name, module in original.parts.items():
        for key, value in module.state_dict().items():
            assert torch.equal(combined.parts[name].state_dict()[key], value)


def test_a_part_of_another_family_does_not_fit(tiny: Path, tmp_path: Path) -> None:
    whole = load_file(tiny)
    text = "cond_stage_model.transformer."
    narrow = {key.removeprefix(text): value[..., :32].contiguous() for key, value in whole.items()
              if key.startswith(text) and value.ndim > 1}
    save_file(narrow, tmp_path / "narrow.safetensors")
    rest = {key: tuple(value.shape) for key, value in whole.items() if not key.startswith(text)}
    assert "It has no text encoder, and no file here fits." in examine(Header("x", rest, {}), SpareFiles([tmp_path]))


def test_only_the_header_is_needed(tiny: Path, tmp_path: Path) -> None:
    start = tiny.read_bytes()[:8]
    text = tiny.read_bytes()[8:8 + struct.unpack("<Q", start)[0]].decode()
    page = said_html("C:\\models\\mine.safetensors", text, Settings(data_dir=tmp_path))
    assert "mine.safetensors is a Stable Diffusion 1.x checkpoint." in page
    assert "C:" not in page


@pytest.mark.parametrize("text", ["", "[]", "{}x", '{"a": 1}', '{"a": {"shape": [-1]}}', '{"a": {"shape": "no"}}',
                                  '{"__metadata__": 3, "a": {"shape": [1]}}', "[" * 10**5, str(math.nan)])
def test_what_is_no_header_is_said(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="x does not begin with the header of a safetensors file"):
        header_of_text("x", text)
    assert "&lt;x&gt; does not begin" in said_html("<x>", text, Settings(data_dir=tmp_path))


def test_the_command_line_says_the_same(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(tiny), "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{tiny.name} is a Stable Diffusion 1.x checkpoint."
    assert cli.main(["doctor", str(tmp_path / "none.safetensors")]) == 1
    assert "none.safetensors cannot be read" in capsys.readouterr().err
