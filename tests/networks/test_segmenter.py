"""Segment Anything with tiny random weights against transformers' own processors and models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from modules.engine.clicking import Clicking
from modules.errors import CheckpointError, InvalidInput
from modules.imaging.click_mask import Click
from modules.networks.segmenter import MEAN, STD, Segmenter
from modules.settings import Settings

PICTURE = Image.effect_noise((90, 60), 80).resize((180, 120)).convert("RGB")
CLICKS = [[Click(30, 20)], [Click(30, 20), Click(150.5, 100, False), Click(90, 60)]]


def write_sam(folder: Path) -> Path:
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_attention_heads": 2}
    config = SamConfig(
        vision_config={**small, "num_hidden_layers": 2, "image_size": 64, "patch_size": 8, "output_channels": 32,
                       "global_attn_indexes": [1], "window_size": 4, "mlp_dim": 64, "num_pos_feats": 16},
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 8},
        mask_decoder_config={**small, "mlp_dim": 64, "iou_head_hidden_dim": 32})
    SamModel(config).save_pretrained(folder)
    return folder


def write_sam2(folder: Path) -> Path:
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

    torch.manual_seed(0)
    backbone = Sam2HieraDetConfig(
        hidden_size=16, num_attention_heads=1, image_size=[64, 64], patch_kernel_size=[7, 7], patch_stride=[4, 4],
        patch_padding=[3, 3], query_stride=[2, 2], window_positional_embedding_background_size=[4, 4],
        blocks_per_stage=[1, 2, 2, 1], embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8], window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[4])
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=32,
                              backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]])
    config = Sam2Config(vision_config=vision,
                        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
                        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 64,
                                             "iou_head_hidden_dim": 32})
    Sam2Model(config).save_pretrained(folder)
    return folder


def labelled(clicks: list[Click]) -> tuple[list[list[float]], list[int]]:
    return [[one.x, one.y] for one in clicks], [int(one.meant) for one in clicks]


@pytest.mark.parametrize("clicks", CLICKS)
@pytest.mark.parametrize("size", [(180, 120), (40, 90), (64, 64)])
def test_sam_is_what_transformers_makes_of_it(tmp_path: Path, clicks: list[Click], size: tuple[int, int]) -> None:
    from transformers import SamModel, SamProcessor
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    picture = PICTURE.resize(size)
    clicks = [Click(one.x * size[0] / 180, one.y * size[1] / 120, one.meant) for one in clicks]
    model = SamModel.from_pretrained(write_sam(tmp_path / "sam")).eval()
    processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}))
    points, labels = labelled(clicks)
    inputs = processor(picture, input_points=[[points]], input_labels=[[labels]], return_tensors="pt")
    with torch.no_grad():
        answer = model(pixel_values=inputs["pixel_values"], input_points=inputs["input_points"].float(),
                       input_labels=inputs["input_labels"], multimask_output=len(clicks) == 1)
    (masks,) = processor.post_process_masks(answer.pred_masks, inputs["original_sizes"],
                                            inputs["reshaped_input_sizes"])
    expected = masks[0, int(answer.iou_scores[0, 0].argmax())].numpy()
    ours = np.asarray(Segmenter(tmp_path / "sam", "cpu").seen(picture).by_clicks(clicks)) > 0
    assert 0 < expected.mean() < 1
    assert (ours != expected).mean() < 0.002


@pytest.mark.parametrize("clicks", [[], CLICKS[1]])
@pytest.mark.parametrize("candidate", [None, 0, 2])
def test_boxes_and_candidates_are_those_of_transformers(tmp_path: Path, clicks: list[Click],
                                                        candidate: int | None) -> None:
    from transformers import SamModel, SamProcessor
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    model = SamModel.from_pretrained(write_sam(tmp_path / "sam")).eval()
    processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}))
    points, labels = labelled(clicks)
    pointed = {"input_points": [[points]], "input_labels": [[labels]]} if clicks else {}
    inputs = processor(PICTURE, input_boxes=[[[20.0, 10.0, 120.5, 90.0]]], return_tensors="pt", **pointed)
    given = {name: inputs[name].float() for name in ("input_points", "input_boxes") if name in inputs}
    given |= {"input_labels": inputs["input_labels"]} if clicks else {}
    with torch.no_grad():
        answer = model(pixel_values=inputs["pixel_values"], multimask_output=candidate is not None, **given)
    (masks,) = processor.post_process_masks(answer.pred_masks, inputs["original_sizes"],
                                            inputs["reshaped_input_sizes"])
    by_size = sorted(masks[0].numpy(), key=lambda mask: mask.sum())
    expected = by_size[candidate or 0]
    ours = Segmenter(tmp_path / "sam", "cpu").seen(PICTURE).by_clicks(clicks, (20.0, 10.0, 120.5, 90.0), candidate)
    assert len(by_size) == (1 if candidate is None else 3)
    assert ((np.asarray(ours) > 0) != expected).mean() < 0.002


@pytest.mark.parametrize("clicks", CLICKS)
def test_sam_2_is_what_its_model_makes_of_a_square(tmp_path: Path, clicks: list[Click]) -> None:
    """Its processor needs torchvision, so the square is made by torch here."""
    from transformers import Sam2Model

    model = Sam2Model.from_pretrained(write_sam2(tmp_path / "sam2")).eval()
    pixels = torch.from_numpy(np.array(PICTURE)).permute(2, 0, 1)[None].float()
    square = F.interpolate(pixels, (64, 64), mode="bilinear", antialias=True) / 255
    normal = (square - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    points, labels = labelled(clicks)
    with torch.no_grad():
        answer = model(pixel_values=normal, input_points=torch.tensor([[points]]) * torch.tensor([64 / 180, 64 / 120]),
                       input_labels=torch.tensor([[labels]]), multimask_output=len(clicks) == 1)
    best = answer.pred_masks[0, 0, answer.iou_scores[0, 0].argmax()][None, None]
    expected = (F.interpolate(best, (120, 180), mode="bilinear")[0, 0] > 0).numpy()
    ours = np.asarray(Segmenter(tmp_path / "sam2", "cpu").seen(PICTURE).by_clicks(clicks)) > 0
    assert 0 < expected.mean() < 1
    assert (ours != expected).mean() < 0.01


def test_a_picture_is_looked_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clicking = Clicking(settings)
    assert not clicking.is_network
    write_sam(settings.models_dir / "sam" / "tiny")
    assert clicking.is_network
    looked: list[Image.Image] = []
    seen = Segmenter.seen
    monkeypatch.setattr(Segmenter, "seen", lambda self, picture: (looked.append(picture), seen(self, picture))[1])
    first = clicking.mask(("a",), lambda: PICTURE, CLICKS[0])
    assert clicking.mask(("a",), lambda: PICTURE, CLICKS[0]).tobytes() == first.tobytes()
    clicking.mask(("b",), lambda: PICTURE, CLICKS[1])
    assert len(looked) == 2
    clicking.forget()
    clicking.mask(("a",), lambda: PICTURE, CLICKS[0])
    assert len(looked) == 3


def test_what_is_no_network_is_refused(settings: Settings) -> None:
    folder = settings.models_dir / "sam" / "other"
    folder.mkdir(parents=True)
    for config in ("no", '{"model_type": "bert"}', '{"model_type": "sam"}'):
        (folder / "config.json").write_text(config)
        with pytest.raises(CheckpointError, match="other in models/sam is no Segment Anything network"):
            Clicking(settings).mask(("a",), lambda: PICTURE, CLICKS[0])


def test_clicks_are_checked(tmp_path: Path) -> None:
    seen = Segmenter(write_sam(tmp_path / "sam"), "cpu").seen(PICTURE)
    for clicks in ([], [Click(1, 1, False)], [Click(180, 1)], [Click(float("nan"), 1)], [Click(1, 1)] * 101):
        with pytest.raises(InvalidInput):
            seen.by_clicks(clicks)
