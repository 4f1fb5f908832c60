"""What a depth checkpoint is shown of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModel
from golden.depth import depth_bench, stub
from PIL import Image, ImageDraw

from modules.errors import CheckpointError, InvalidInput
from modules.networks.depth import DepthNetwork, as_dpt_reads, depth_map
from modules.networks.inputs import DEPTH
from modules.request import Img2Img, Inpaint, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options

PICTURE = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
SMALL = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, "seed": 5, "subseed": 0, "sampler": "Euler",
         "options": Options().replaced({"sd_model_checkpoint": "tiny-sd2-depth"})}


@pytest.mark.parametrize(("size", "read"), [((128, 64), (192, 384)), ((400, 380), (384, 416)),
                                            ((90, 170), (384, 192))])
def test_pictures_are_brought_near_the_networks_own_size(size: tuple[int, int], read: tuple[int, int]) -> None:
    """(width, height) of the picture, (height, width) of what the network reads."""
    image = torch.zeros(1, 3, size[1], size[0])
    assert tuple(as_dpt_reads(image).shape[2:]) == read


def test_the_depth_fills_the_whole_range_and_a_given_one_goes_first() -> None:
    class Asked(FakeModel):
        def depth_of(self, image: torch.Tensor) -> torch.Tensor:
            return depth_map(stub, image)

    pixels = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hole = torch.ones(1, 1, 64, 32)
    seen = DEPTH.beside(Asked(), pixels, hole, 1.0)
    assert seen.shape == (2, 1, 8, 4)
    assert (float(seen.min()), float(seen.max())) == pytest.approx((-1, 1))
    given = torch.linspace(0, 0.5, 64)[None, None, :, None].expand(1, 1, 64, 32)
    told = DEPTH.beside(FakeModel(), pixels, hole, 1.0, given)
    assert torch.equal(told[0], told[1])
    assert torch.allclose(told[0, 0, 1:-1, 0].diff(), told[0, 0, 1:-1, 0].diff().mean().expand(5), atol=1e-4)
    assert not DEPTH.beside(FakeModel(), pixels, hole, 1.0, torch.ones(1, 1, 64, 32)).any(), "a flat depth is no NaN"


def test_without_a_network_and_a_picture_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"give a depth picture, or put the folder of a DPT network .* into .*depth"):
        DepthNetwork([tmp_path / "depth"])(torch.zeros(1, 3, 32, 32))
    (tmp_path / "depth" / "other").mkdir(parents=True)
    (tmp_path / "depth" / "other" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="other in models/depth is no DPT network"):
        DepthNetwork([tmp_path / "depth"])(torch.zeros(1, 3, 32, 32))


def test_a_dpt_network_of_transformers_is_read(tmp_path: Path) -> None:
    from transformers import DPTConfig, DPTForDepthEstimation

    torch.manual_seed(0)
    tiny = DPTForDepthEstimation(DPTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64, image_size=384, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8)).eval()
    tiny.save_pretrained(tmp_path / "tiny")
    picture = torch.rand(1, 3, 384, 384)
    with torch.no_grad():
        expected = tiny(picture).predicted_depth[:, None]
    assert torch.allclose(depth_map(DepthNetwork([tmp_path]), picture), expected, atol=1e-5)


def test_the_depth_picture_is_cut_like_the_picture() -> None:
    """Outside of the surroundings that the sampler sees it may be anything."""
    model = depth_bench().model("tiny-sd2-depth")
    assert model.inputs is DEPTH
    mask = Image.new("L", (128, 128))
    ImageDraw.Draw(mask).rectangle((70, 70, 90, 90), fill=255)
    picture = PICTURE.resize((128, 128))
    depth = Image.linear_gradient("L").resize((128, 128))
    elsewhere, here = depth.copy(), depth.copy()
    ImageDraw.Draw(elsewhere).rectangle((0, 0, 40, 40), fill=255)
    ImageDraw.Draw(here).rectangle((60, 60, 100, 80), fill=255)

    def made(depth: Image.Image | None) -> np.ndarray:
        request = Inpaint(init_images=(picture,), mask=mask, only_masked=True, only_masked_padding=8, depth_map=depth,
                          **SMALL)
        result, *_ = depth_bench().make(request)
        return np.asarray(result.images[0].image, int)

    usual = made(depth)
    assert np.array_equal(made(elsewhere), usual)
    assert not np.array_equal(made(here), usual)
    assert not np.array_equal(made(None), usual)
    outside = np.asarray(mask.resize((128, 128))) == 0
    outside[60:102, 60:102] = False  # the mask's blur
    assert np.array_equal(usual[outside], np.asarray(picture, int)[outside])


def test_txt2img_has_no_picture() -> None:
    with pytest.raises(InvalidInput, match="starts from a picture: use it in img2img or inpaint"):
        depth_bench().engine.generate(Txt2Img(**SMALL), NullJob())


def test_the_api_takes_a_depth_picture() -> None:
    import base64
    import io

    from modules.api.pictures import check_pixels, unpacked_request
    from modules.api.schema import Img2ImgBody

    file = io.BytesIO()
    PICTURE.save(file, "png")
    text = base64.b64encode(file.getvalue()).decode()
    body = Img2ImgBody.model_validate({"init_images": [text], "depth_map": text})
    request = body.request(Options(), max_pixels=10**6)
    check_pixels(request, 10**6)
    opened = unpacked_request(request)
    assert isinstance(opened, Img2Img)
    assert opened.depth_map is not None
    assert opened.depth_map.size == PICTURE.size
    with pytest.raises(InvalidInput, match="depth_map is not a picture"):
        Img2ImgBody.model_validate({"init_images": [text], "depth_map": "bm8="}).request(Options(), max_pixels=10**6)
