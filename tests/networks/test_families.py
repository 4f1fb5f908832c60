"""What is read from shapes alone, and the sentence for each kind of file that is not Stable Diffusion 1.x."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from make_tiny import SHAPES

from modules.errors import CheckpointError
from modules.networks.families import FAMILIES, missing_parts, recognise, refuse_missing
from modules.networks.families.sd1 import SD1
from modules.networks.families.sdxl import SDXL, SDXL_REFINER, waves
from modules.networks.shapes import Header, TextShape, UNetShape, VaeShape
from modules.sampling.conditioning import Conditioning, SizeIds, TextOptions

Shapes = dict[str, tuple[int, ...]]
UNET = "model.diffusion_model."


def shapes_of(name: str) -> Shapes:
    return {key: tuple(shape) for key, shape in json.loads((SHAPES / f"{name}.json").read_text()).items()}


def detect(shapes: Shapes, metadata: dict[str, str], name: str) -> SimpleNamespace:
    """The shapes of a checkpoint's parts, by name, as the loader reads them."""
    header = Header(name, shapes, metadata)
    family = recognise(header)
    missing = missing_parts(family, header.renamed(family.rename), Path(name), ())
    refuse_missing(header, [part for part in missing if not part.optional])
    found = {part.name: part.shape(header) for part in family.parts if part not in missing}
    family.check(found, header)
    return SimpleNamespace(**found)


@pytest.fixture
def shapes() -> Shapes:
    return shapes_of("tiny-sd15")


def test_the_tiny_checkpoint(shapes: Shapes) -> None:
    found = detect(shapes, {}, "x")
    assert found.unet == UNetShape(4, (32, 64, 128, 128), (True, True, True, False), 2, (1,) * 4, 64, (8,) * 4, 32)
    assert found.vae == VaeShape((32, 64, 64, 64), 2, 32)
    assert found.text == TextShape(12, 64, 256, 49408, 77, 1)


def test_an_inpainting_checkpoint_and_another_vae() -> None:
    found = detect(shapes_of("tiny-sd15-inpainting"), {}, "x")
    assert found.unet.in_channels == 9
    assert found.vae == VaeShape((64, 64, 64, 128), 2, 32)


def test_metadata_says_what_shapes_cannot(shapes: Shapes) -> None:
    metadata = {"unet_heads": "4", "unet_norm_groups": "16", "vae_norm_groups": "8", "text_heads": "2", "format": "pt"}
    found = detect(shapes, metadata, "x")
    assert (found.unet.heads, found.unet.norm_groups, found.vae.norm_groups, found.text.heads) == ((4,) * 4, 16, 8, 2)


@pytest.mark.parametrize("value", ["0", "-8", "8.0", "eight", "", "99999999999", "３"])
@pytest.mark.parametrize("key", ["unet_heads", "unet_norm_groups", "vae_norm_groups", "text_heads"])
def test_metadata_that_is_no_whole_number_is_refused(shapes: Shapes, key: str, value: str) -> None:
    with pytest.raises(CheckpointError, match=f"x.safetensors says {key}"):
        detect(shapes, {key: value}, "x.safetensors")


@pytest.mark.parametrize("key", ["unet_heads", "unet_norm_groups", "vae_norm_groups", "text_heads"])
def test_metadata_has_to_divide_the_widths(shapes: Shapes, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"{key} = 24 does not divide"):
        detect(shapes, {key: "24"}, "x")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("conditioner.embedders.0.transformer.text_model.embeddings.position_ids", "no UNet and no autoencoder (VAE)"),
        ("conditioner.embedders.0.model.ln_final.weight", "no UNet and no autoencoder (VAE)"),
        ("model.diffusion_model.label_emb.0.0.weight", "no first text encoder (CLIP ViT-L) and no second"),
        ("cond_stage_model.model.transformer.resblocks.0.ln_1.weight", "no UNet and no autoencoder (VAE)"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "a Flux checkpoint"),
        ("double_blocks.0.img_attn.qkv.weight", "a Flux checkpoint"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "no autoencoder (VAE) and no first text"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "a LoRA file"),
        ("unet.down_blocks.0.attentions.0.proj_in.lora_A.weight", "a LoRA file"),
        ("down_blocks.0.attentions.0.norm.weight", "diffusers' own layout"),
        ("decoder.up_blocks.0.resnets.0.norm1.weight", "diffusers' own layout"),
        ("control_model.input_hint_block.0.weight", "a ControlNet file"),
        ("emb_params", "a textual inversion embedding"),
        ("encoder.down.0.block.0.conv1.weight", "a VAE file"),
        ("first_stage_model.encoder.conv_in.weight", "a VAE file"),
        ("some.other.network.weight", "does not look like a Stable Diffusion checkpoint"),
    ],
)
def test_other_families_are_named(key: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(words)) as raised:
        detect({key: (1, 1)}, {}, "file.safetensors")
    assert raised.value.message.startswith("file.safetensors")
    assert raised.value.message.count(".safetensors") == 1


def test_missing_parts_are_named(shapes: Shapes) -> None:
    without = {key: shape for key, shape in shapes.items() if not key.startswith(("first_stage", "cond_stage"))}
    with pytest.raises(CheckpointError, match=r"no autoencoder \(VAE\) and no text encoder"):
        detect(without, {}, "x")


def test_channels_that_this_program_does_not_know(shapes: Shapes) -> None:
    shapes[UNET + "input_blocks.0.0.weight"] = (32, 7, 3, 3)
    with pytest.raises(CheckpointError, match=r"7 input channels; this program knows 4 \(plain\) and 8 \(edit\) and 9"):
        detect(shapes, {}, "x")


@pytest.mark.parametrize("bad", [(), (32,), None])
def test_a_weight_that_is_missing_or_flat_is_named(shapes: Shapes, bad: tuple[int, ...] | None) -> None:
    key = UNET + "middle_block.1.proj_in.weight"
    if bad is None:
        del shapes[key]
    else:
        shapes[key] = bad
    with pytest.raises(CheckpointError, match=re.escape(key)):
        detect(shapes, {}, "x")


def test_parts_that_do_not_fit_together(shapes: Shapes) -> None:
    shapes[UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"] = (128, 768)
    with pytest.raises(CheckpointError, match="gives 64 channels and its UNet reads 768"):
        detect(shapes, {}, "x")


def test_a_block_number_out_of_order_is_refused(shapes: Shapes) -> None:
    shapes[UNET + "input_blocks.987654321.0.x"] = (1,)
    with pytest.raises(CheckpointError, match="not numbered"):
        detect(shapes, {}, "x")


TINY = {name: shapes_of(name) for name in ("tiny-sd15", "tiny-sd21-v", "tiny-sdxl", "tiny-sdxl-refiner", "tiny-sd3")}
HEADS = {"unet_head_channels": "32"}
SMALL = st.lists(st.integers(0, 130), max_size=4).map(tuple)


def refusal(shapes: Shapes) -> str:
    """The sentence with which these shapes are refused; empty for a model."""
    try:
        detect(shapes, HEADS, "x.safetensors")
    except CheckpointError as error:
        assert error.message.startswith("x.safetensors")  # noqa: PT017
        assert error.message.endswith(".")  # noqa: PT017
        assert "\n" not in error.message  # noqa: PT017
        return error.message
    return ""


@pytest.mark.parametrize("name", TINY)
@given(data=st.data())
def test_damaged_shapes_give_a_sentence_or_a_model(name: str, data: st.DataObject) -> None:
    keys = st.sampled_from(sorted(TINY[name]))
    changed, missing = data.draw(st.dictionaries(keys, SMALL, max_size=4)), data.draw(st.sets(keys, max_size=3))
    refusal({key: changed.get(key, shape) for key, shape in TINY[name].items() if key not in missing})


def parts_of(name: str) -> dict[str, Shapes]:
    """The tensors of each part of a tiny checkpoint, by the part's prefix."""
    prefixes = [part.prefix for part in recognise(Header("x", TINY[name], HEADS)).parts]
    return {prefix: found for prefix in prefixes
            if (found := {key: shape for key, shape in TINY[name].items() if key.startswith(prefix)})}


@pytest.mark.parametrize("name", TINY)
def test_each_part_that_is_missing_is_named(name: str) -> None:
    family = recognise(Header("x", TINY[name], HEADS))
    for part in family.parts:
        whole = {key: shape for key, shape in TINY[name].items() if not key.startswith(part.prefix)}
        said = refusal(whole)
        assert part.optional or said, f"{name} without {part.prefix}"


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("other", TINY)
def test_a_part_of_another_family_is_refused_or_fits(name: str, other: str) -> None:
    """The text encoders and the autoencoder of a checkpoint are those of another one."""
    mine, theirs = parts_of(name), parts_of(other)
    unet = next(iter(mine))
    mixed: Shapes = {**mine[unet]}
    for prefix, shapes in theirs.items():
        if prefix != next(iter(theirs)):
            mixed |= shapes
    said = refusal(mixed)
    if name == other:
        assert not said
    elif {name, other} != {"tiny-sd15", "tiny-sd21-v"}:  # a text encoder of equal width fits by its shapes
        assert said


def test_a_vae_of_another_scale(shapes: Shapes) -> None:
    three = {key: shape for key, shape in shapes.items() if ".down.3." not in key}
    with pytest.raises(CheckpointError, match="3 levels"):
        SD1.part("vae").shape(Header("x", three, {}))


def test_older_names() -> None:
    prefix = "cond_stage_model.transformer."
    assert SD1.rename(prefix + "encoder.layers.0.x") == prefix + "text_model.encoder.layers.0.x"
    assert SD1.rename(prefix + "text_model.encoder.x") == prefix + "text_model.encoder.x"


FAMILY_OF = {
    "tiny-sd15": "sd1", "tiny-sd15-inpainting": "sd1", "tiny-sd21-v": "sd2", "tiny-sdxl": "sdxl",
    "tiny-sdxl-refiner": "sdxl-refiner", "tiny-sd3": "sd3",
    "sd15-inpainting": "sd1", "sd15-pix2pix": "sd1", "sd21": "sd2", "sd2-depth": "sd2",
    "sd2-inpainting": "sd2", "sdxl-base": "sdxl", "sdxl-inpainting": "sdxl",
    "sdxl-refiner": "sdxl-refiner", "sd3-medium-incl-clips": "sd3",
}
"""The fixtures: the tiny ones lie here, those of real files with the recordings."""

FULL_SIZE = Path(__file__).resolve().parents[3] / "shared" / "golden" / "full-size"
FIXTURES = [path for path in (*SHAPES.glob("*.json"), *FULL_SIZE.glob("*.json")) if path.stem in FAMILY_OF]


def test_every_fixture_here_is_checked() -> None:
    assert {path.stem for path in SHAPES.glob("*.json")} <= FAMILY_OF.keys()


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_each_fixture_is_of_one_family_and_every_tensor_finds_its_place(fixture: Path) -> None:
    """The names and shapes of a file: one family's signs hold, every tensor has a parameter and the other way
    round. No weights are needed."""
    shapes = {key: tuple(shape) for key, shape in json.loads(fixture.read_text()).items()}
    tiny = {"unet_head_channels": "32"} if fixture.parent == SHAPES and "sd15" not in fixture.stem else {}
    header = Header("x", shapes, tiny)
    family = recognise(header)
    assert family.name == FAMILY_OF[fixture.stem]
    assert [kind for kind in FAMILIES if kind.recognises(header)] == [family]
    parts = [part for part in family.parts if header.has(part.prefix) or not part.optional]
    family.check({part.name: part.shape(header) for part in parts}, header)
    placed = set()
    for part in parts:
        shape = part.shape(header)
        with torch.device("meta"):
            wanted = {name: tuple(tensor.shape) for name, tensor in part.build(shape).state_dict().items()}
        for key in (key for key in header.shapes if key.startswith(part.prefix)):
            names = part.key(key.removeprefix(part.prefix), shape)
            names = (names,) if isinstance(names, str) else names or ()
            if names:
                first, *others = (wanted[name] for name in names)
                whole = (first[0] + sum(other[0] for other in others), *first[1:]) if others else first
                assert header.shapes[key] in (whole, (*whole, 1, 1))
            placed |= {(part.name, name) for name in names}
        assert {(part.name, name) for name in wanted} <= placed


@pytest.mark.parametrize(("fixture", "channels", "name"), [
    ("tiny-sd15", 4, "plain"), ("tiny-sd15", 8, "edit"), ("tiny-sd15", 9, "inpaint"), ("tiny-sd21-v", 4, "plain"),
    ("tiny-sd21-v", 9, "inpaint"), ("tiny-sdxl", 8, "edit"), ("tiny-sdxl", 9, "inpaint"),
    ("tiny-sdxl-refiner", 4, "plain"),
])
def test_what_the_unet_reads_is_told_by_its_channels(fixture: str, channels: int, name: str) -> None:
    shapes = shapes_of(fixture) | {UNET + "input_blocks.0.0.weight": (32, channels, 3, 3)}
    found = detect(shapes, {"unet_head_channels": "32"}, "x")
    reads = recognise(Header("x", shapes, {})).inputs(found.unet)
    assert reads.name == name
    assert reads.noted_in_txt2img == (name == "inpaint" and fixture != "tiny-sdxl")


def prediction(fixture: str, metadata: dict[str, str], *more: str, values: tuple[float, ...] = ()) -> str:
    header = Header("x", shapes_of(fixture) | dict.fromkeys(more, (1,)), metadata, lambda key: values)
    return recognise(header).prediction(header).name


@pytest.mark.parametrize("fixture", ["tiny-sd15", "tiny-sd21-v", "tiny-sdxl", "tiny-sdxl-refiner"])
def test_what_it_predicts_is_told_by_yaml_then_metadata_then_a_tensor(fixture: str) -> None:
    assert prediction(fixture, {}) == "epsilon"
    assert prediction(fixture, {}, "v_pred") == prediction(fixture, {}, "edm_vpred.sigma_max") == "v_prediction"
    assert prediction(fixture, {"modelspec.prediction_type": "v"}) == "v_prediction"
    assert prediction(fixture, {"modelspec.prediction_type": "epsilon"}, "v_pred") == "epsilon"
    assert prediction(fixture, {"modelspec.prediction_type": "epsilon", "parameterization": "v"}) == "v_prediction"
    assert prediction(fixture, {"modelspec.prediction_type": "something new"}) == "epsilon"


def test_sd2_is_guessed_by_how_far_one_bias_spreads() -> None:
    far, near = (0.1, -0.1), (0.08, -0.08)
    assert prediction("tiny-sd21-v", {}, values=far) == "v_prediction"
    assert prediction("tiny-sd21-v", {}, values=near) == "epsilon"
    assert prediction("tiny-sd21-v", {"parameterization": "eps"}, values=far) == "epsilon"
    assert prediction("tiny-sd15", {}, values=far) == prediction("tiny-sdxl", {}, values=far) == "epsilon"


def test_a_zero_terminal_snr_is_told_by_a_tensor() -> None:
    plain, stretched = (recognise(header).levels(header) for header in (
        Header("x", shapes_of("tiny-sdxl"), {}), Header("x", shapes_of("tiny-sdxl") | {"ztsnr": (1,)}, {})))
    assert plain.sigma_max == pytest.approx(14.6146, abs=1e-3)
    assert stretched.sigma_max == pytest.approx(4518.76, abs=0.1)


def test_a_text_encoder_of_another_family() -> None:
    text = {key: shape for key, shape in shapes_of("tiny-sd21-v").items() if key.startswith("cond_stage_model.")}
    mixed = {key: shape for key, shape in shapes_of("tiny-sd15").items() if not key.startswith("cond_stage_model.")}
    mixed[UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"] = (128, 32)
    with pytest.raises(CheckpointError, match="gives 64 channels and its UNet reads 32"):
        detect(mixed | text, {"unet_head_channels": "32"}, "x")
    wide = shapes_of("tiny-sdxl") | {UNET + "label_emb.0.0.weight": (128, 1344)}
    with pytest.raises(CheckpointError, match="gives 1600 pooled channels and its UNet reads 1344"):
        detect(wide, {"unet_head_channels": "32"}, "x")


def test_sizes_follow_the_pooled_vector_and_an_empty_negative_prompt_is_zeros() -> None:
    sizes = SizeIds((1000, 700), (8, 16), (1200, 900), 4.0)
    words = Conditioning(torch.ones(2, 77, 3), torch.full((2, 5), 2.0))
    for family, numbers in ((SDXL, [700, 1000, 16, 8, 900, 1200]), (SDXL_REFINER, [700, 1000, 16, 8, 4])):
        told = family.told(words, ["", "a dog"], TextOptions(sizes=sizes, negative=True))
        assert told.vector is not None
        assert torch.equal(told.vector[:, :5], torch.full((2, 5), 2.0)), "one of the texts is not empty"
        expected = waves(torch.tensor(numbers, dtype=torch.float32)).flatten()
        assert torch.equal(told.vector[:, 5:], expected.expand(2, -1))
        empty = family.told(words, ["", ""], TextOptions(sizes=sizes, negative=True))
        assert empty.vector is not None
        assert not empty.tokens.any()
        assert not empty.vector[:, :5].any()
        assert torch.equal(empty.vector[:, 5:], expected.expand(2, -1))
        assert family.told(words, ["", ""], TextOptions(sizes=sizes)).tokens.all()
