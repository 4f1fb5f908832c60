"""Preprocessors with networks: tiny random weights against transformers' own pipeline, and against plain formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.registry import PREPROCESSORS, find
from modules.errors import CheckpointError, InvalidInput
from modules.networks.annotators.annotators import Annotators, recipes
from modules.networks.annotators.depth import depth_map, normal_map
from modules.networks.annotators.line_art import Drawing
from modules.networks.annotators.soft_edges import DEPTHS, Hed


def picture(height: int, width: int) -> Pixels:
    y, x = np.mgrid[:height, :width]
    rings = 127 + 120 * np.sin(np.hypot(y - height / 2, x - width / 3) / 6)
    return np.stack([rings, x * 255 / width, y * 255 / height], axis=2).astype(np.uint8)


def saved(network: torch.nn.Module, path: Path) -> dict[str, Tensor]:
    """`network`'s weights, drawn at random and written to `path`."""
    generator = torch.Generator().manual_seed(7)
    weights = {key: torch.randn(value.shape, generator=generator) / max(value[0].numel(), 1) ** 0.5
               for key, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    return weights


@pytest.fixture
def depth_folder(tmp_path: Path) -> Path:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    torch.manual_seed(1)
    backbone = Dinov2Config(hidden_size=24, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
                            out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
                            apply_layernorm=True)
    config = DepthAnythingConfig(backbone_config=backbone, reassemble_hidden_size=24, patch_size=14,
                                 neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=8)
    folder = tmp_path / "depth_anything_v2"
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 56, "width": 56}, keep_aspect_ratio=True,
                         ensure_multiple_of=14).save_pretrained(folder)
    return folder


def test_depth_is_that_of_transformers_pipeline(depth_folder: Path) -> None:
    from transformers import pipeline

    source = picture(64, 96)
    found = Annotators([depth_folder.parent]).control_map(find("depth_anything_v2"), source, Values(64))
    answer = pipeline("depth-estimation", model=str(depth_folder))(Image.fromarray(source))["predicted_depth"].numpy()
    expected = (answer - answer.min()) / (answer.max() - answer.min()) * 255
    assert found.shape == source.shape
    assert np.ptp(found) == 255
    assert abs(found[:, :, 0] - expected).max() <= 1
    assert (found[:, :, :1] == found).all()


def test_a_flat_depth_is_black() -> None:
    assert not depth_map(np.full((3, 4), 5, np.float32)).any()


def test_normals_of_a_slope_and_of_a_wall() -> None:
    near = np.repeat(np.linspace(0, 100, 101, dtype=np.float32)[None], 20, axis=0)  # one unit a pixel to the right
    found = normal_map(near, 0.4)
    x, z = 8, 2 * np.pi  # Sobel's slope of it
    length = np.hypot(x, z)
    expected = [x / length * 127.5 + 127.5, 127.5, z / length * 127.5 + 127.5]
    assert abs(found[10, 70] - np.array(expected)).max() <= 1
    np.testing.assert_array_equal(found[10, 20], [127, 127, 255])
    assert abs(normal_map(near.T.copy(), 0.4)[70, 10].astype(int) - np.array(expected)[[1, 0, 2]]).max() <= 1


def hed_by_hand(weights: dict[str, Tensor], source: Pixels) -> np.ndarray:
    """Edges 0 to 1 at the picture's size, by the paper's layers."""
    x = torch.from_numpy(source).permute(2, 0, 1)[None].float() - weights["norm"]
    edges = []
    for n, depth in enumerate(DEPTHS, 1):
        if n > 1:
            x = F.max_pool2d(x, 2, 2)
        for layer in range(depth):
            name = f"block{n}.convs.{layer}"
            x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()
        edge = F.conv2d(x, weights[f"block{n}.projection.weight"], weights[f"block{n}.projection.bias"])
        edges.append(F.interpolate(edge, source.shape[:2], mode="bilinear", align_corners=False))
    return torch.sigmoid(torch.stack(edges).mean(0))[0, 0].numpy()


def test_soft_edges(tmp_path: Path) -> None:
    weights = saved(Hed(), tmp_path / "hed/ControlNetHED.pth")
    source, annotators = picture(64, 96), Annotators([tmp_path])
    expected = hed_by_hand(weights, source)
    assert np.ptp(expected) > 0.5
    soft = annotators.control_map(find("softedge_hed"), source, Values(64))
    assert abs(soft[:, :, 1] - expected * 255).max() <= 1
    safe = annotators.control_map(find("softedge_hedsafe"), source, Values(64))
    assert set(np.unique(safe)) <= {0, 127, 255}
    sure = abs(expected * 3 % 1 - 0.5) < 0.45
    np.testing.assert_array_equal(safe[:, :, 0][sure], np.floor(np.floor(expected * 3) / 2 * 255)[sure])
    scribble = annotators.control_map(find("scribble_hed"), source, Values(64))
    assert set(np.unique(scribble)) <= {0, 255}


def test_line_art(tmp_path: Path) -> None:
    weights = saved(Drawing(), tmp_path / "lineart/sk_model2.pth")
    source = picture(64, 94)

    def conv(x: Tensor, name: str, **kwargs: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **kwargs)

    def norm(x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()

    def reflected(x: Tensor, by: int) -> Tensor:
        return F.pad(x, (by,) * 4, mode="reflect")

    x = torch.from_numpy(np.pad(source, ((0, 0), (0, 2), (0, 0)), mode="edge")).permute(2, 0, 1)[None] / 255
    x = norm(conv(reflected(x, 3), "model0.1")).relu()
    for name in ("model1.0", "model1.3"):
        x = norm(conv(x, name, stride=2, padding=1)).relu()
    for n in range(3):
        y = norm(conv(reflected(x, 1), f"model2.{n}.conv_block.1")).relu()
        x = x + norm(conv(reflected(y, 1), f"model2.{n}.conv_block.5"))
    for name in ("model3.0", "model3.3"):
        x = norm(F.conv_transpose2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1,
                                    output_padding=1)).relu()
    expected = 255 - torch.sigmoid(conv(reflected(x, 3), "model4.1"))[0, 0, :, :94].numpy() * 255
    found = Annotators([tmp_path]).control_map(find("lineart_coarse"), source, Values(64))
    assert found.shape == source.shape
    assert np.ptp(expected) > 20
    assert abs(found[:, :, 2] - expected).max() <= 1.01


def test_a_network_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modules.networks.annotators import soft_edges

    saved(Hed(), tmp_path / "hed/ControlNetHED.pth")
    read: list[Path] = []
    load: Callable[[Path, str], object] = soft_edges.load_soft_edges
    monkeypatch.setattr(soft_edges, "load_soft_edges", lambda path, device: read.append(path) or load(path, device))
    annotators = Annotators([tmp_path / "absent", tmp_path])
    for name in ("hed", "scribble_hed", "hed_safe"):
        annotators.control_map(find(name), picture(64, 64), Values(64))
    assert len(read) == 1


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"softedge_hed needs the file ControlNetHED.pth in .*hed\."):
        Annotators([tmp_path]).control_map(find("hed"), picture(64, 64), Values())
    with pytest.raises(InvalidInput, match=r"depth_midas needs a network in transformers' layout"):
        Annotators([tmp_path]).control_map(find("depth"), picture(64, 64), Values())


def test_a_foreign_file_is_refused(tmp_path: Path, depth_folder: Path) -> None:
    saved(torch.nn.Linear(2, 2), tmp_path / "hed/ControlNetHED.pth")
    with pytest.raises(CheckpointError, match="does not have the weights"):
        Annotators([tmp_path]).control_map(find("hed"), picture(64, 64), Values(64))
    (depth_folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="depth_anything_v2 in models/annotators is no depth network"):
        Annotators([tmp_path]).control_map(find("depth_anything_v2"), picture(64, 64), Values(64))


def test_every_preprocessor_is_computed_somehow() -> None:
    assert {item.name for item in PREPROCESSORS if item.compute is None} == recipes().keys()
    assert all(item.network for item in PREPROCESSORS if item.compute is None)
