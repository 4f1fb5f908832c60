"""Folders in diffusers' layout: written by diffusers' own pipelines, read as the single file that they came from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.tiny import checkpoint, kind_of, tiny_bench
from networks.loading import load as load_model
from networks.theirs import folder_of
from safetensors.torch import load, save

from modules.engine.engine import Engine
from modules.errors import CheckpointError
from modules.networks.combining import NO_SPARE
from modules.networks.doctor import examine, header_of_file
from modules.request import Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.settings import Settings
from modules.weights.catalog import Catalog
from modules.weights.diffusers_folder import read_checkpoint
from modules.weights.merge import Recipe, merge

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint, made once. Tests that spoil one copy it first."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = folder_of(name, tmp_path_factory.mktemp("folders") / f"{name}-1.5")
        return made[name]

    return folder


Folders = Callable[[str], Path]


@pytest.mark.parametrize("name", ["tiny-sd15", "tiny-sd21-v", "tiny-sdxl", "tiny-sdxl-refiner", "tiny-sd3"])
def test_a_folder_is_the_file_that_it_came_from(folders: Folders, name: str) -> None:
    """Every tensor of the model, bit for bit, and what the network predicts. In float32, in which diffusers saves."""
    alone, there = load_model(checkpoint(name)), load_model(folders(name))
    assert there.prediction is alone.prediction
    assert there.parts.keys() == alone.parts.keys()
    for part, module in alone.parts.items():
        theirs = there.parts[part].state_dict()
        for key, values in module.state_dict().items():
            last = part == "text" and name == "tiny-sd21-v" and f"layers.{module.config.num_hidden_layers - 1}." in key
            assert last or torch.equal(theirs[key], values), f"{part} {key}"


@pytest.mark.parametrize("how", [{"max_shard_size": "200KB", "variant": "fp16"}, {"safe_serialization": False}])
def test_shards_variants_and_pickles(tmp_path: Path, how: dict[str, object]) -> None:
    folder = folder_of("tiny-sd15", tmp_path / "it", **how)
    if "max_shard_size" in how:
        assert len(list((folder / "unet").glob("*-of-*"))) > 1
    alone, there = load_model(checkpoint("tiny-sd15")).parts, load_model(folder).parts
    assert all(torch.equal(values, there[part].state_dict()[key])
               for part, module in alone.items() for key, values in module.state_dict().items())


def test_the_names_are_those_of_the_file(folders: Folders) -> None:
    """So that merging and LoRAs find the tensors: names and shapes, of all that a network reads."""
    for name in ("tiny-sd15", "tiny-sdxl", "tiny-sd3"):
        with read_checkpoint(checkpoint(name)) as alone, read_checkpoint(folders(name)) as there:
            left = {key for key in alone.shapes if key not in there.shapes}
            assert all(key.endswith(("position_ids", "logit_scale")) for key in left), left
            assert all(alone.shapes[key] == shape for key, shape in there.shapes.items()
                       if "clip_l.transformer.text_projection" not in key)


def test_it_is_a_checkpoint_like_any_other(folders: Folders, tmp_path: Path) -> None:
    """In the catalog, by its hash, and in a picture."""
    place = tmp_path / "models" / "Stable-diffusion" / "sub" / "tiny-1.5"
    shutil.copytree(folders("tiny-sd15"), place)
    engine = Engine(Settings(data_dir=tmp_path, device="cpu"))
    (file,) = engine.catalog.checkpoints()
    assert (file.name, file.model_name, file.filename) == ("tiny-1.5", "sub_tiny-1.5", "sub/tiny-1.5")
    request = Txt2Img(prompt="a cat", steps=2, width=64, height=64, seed=5, subseed=0, options=Options())
    result = engine.generate(request, NullJob())
    digest = engine.catalog.sha256(file)
    assert f"Model hash: {digest[:10]}, Model: tiny-1.5" in result.images[0].infotext
    bench = tiny_bench(kind_of("tiny-sd15")).engine
    alone = bench.generate(Txt2Img(prompt="a cat", steps=2, width=64, height=64, seed=5, subseed=0,
                                   options=Options().replaced({"sd_model_checkpoint": "tiny-sd15"})), NullJob())
    assert np.array_equal(np.asarray(result.images[0].image), np.asarray(alone.images[0].image))
    names = ("text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
             "vae/diffusion_pytorch_model.safetensors")
    lines = "".join(f"{name} {hashlib.sha256((place / name).read_bytes()).hexdigest()}\n" for name in names)
    assert digest == hashlib.sha256(lines.encode()).hexdigest()
    card, = engine.cards.of("checkpoints")
    assert (card.name, engine.cards.facts(card.id)["pairs"][0]) == ("tiny-1.5", ("File", "tiny-1.5"))


def test_a_change_in_the_folder_is_noticed(folders: Folders, tmp_path: Path) -> None:
    shutil.copytree(folders("tiny-sd15"), tmp_path / "a" / "it")
    catalog = Catalog([tmp_path / "a"])
    before = catalog.sha256(catalog.checkpoints()[0])
    path = tmp_path / "a" / "it" / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content + b"")
    catalog.refresh()
    assert catalog.checkpoints()[0].sha256 is None
    assert catalog.sha256(catalog.checkpoints()[0]) != before


def test_a_folder_merges_with_a_file(folders: Folders, tmp_path: Path) -> None:
    """Half of a checkpoint as a folder and half of the same as a file is that checkpoint."""
    catalog = Catalog([folders("tiny-sd15").parent, checkpoint("tiny-sd15").parent])
    recipe = Recipe(catalog.find("tiny-sd15-1.5"), catalog.find("tiny-sd15.safetensors"), multiplier=0.5)
    made = merge(recipe, tmp_path, catalog.sha256)
    alone, merged = load_model(checkpoint("tiny-sd15")).parts, load_model(made).parts
    assert all(torch.allclose(values, merged[part].state_dict()[key], rtol=0, atol=1e-6)  # halves of tiny halves
               for part, module in alone.items() for key, values in module.state_dict().items())


def test_what_the_scheduler_says(folders: Folders, tmp_path: Path) -> None:
    folder = shutil.copytree(folders("tiny-sdxl"), tmp_path / "it")
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}))
    model = load_model(folder)
    assert model.prediction.name == "v_prediction"
    assert float(model.levels.sigmas[-1]) > 1000  # a terminal SNR of zero


def test_the_doctor_knows_folders(folders: Folders) -> None:
    said = examine(header_of_file(folders("tiny-sdxl-refiner")), NO_SPARE)
    assert said[0] == "tiny-sdxl-refiner-1.5 is a Stable Diffusion XL refiner."
    assert said[-1] == "It loads. Its place is models/Stable-diffusion."


def no_vae(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def no_unet(folder: Path) -> None:
    shutil.rmtree(folder / "unet")


def flux(folder: Path) -> None:
    shutil.move(folder / "unet", folder / "transformer")
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')


def no_json(folder: Path) -> None:
    (folder / "model_index.json").write_text("<html>")


def a_list(folder: Path) -> None:
    (folder / "model_index.json").write_text("[1]")


def short_shard(folder: Path) -> None:
    path = min((folder / "unet").glob("*-00002-*"))
    path.write_bytes(path.read_bytes()[:-7])


def lost_shard(folder: Path) -> None:
    min((folder / "unet").glob("*-00002-*")).unlink()


def index(folder: Path) -> Path:
    return folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"


def nonsense_index(folder: Path) -> None:
    index(folder).write_text('{"weight_map": {"conv_in.weight": 5}}')


def index_that_leads_away(folder: Path) -> None:
    index(folder).write_text('{"weight_map": {"conv_in.weight": "../../secret.safetensors"}}')


def wrong_index(folder: Path) -> None:
    found = json.loads(index(folder).read_text())
    found["weight_map"]["conv_in.weight"] = max(found["weight_map"].values())
    index(folder).write_text(json.dumps(found))


def other_tensors(folder: Path) -> None:
    path = min((folder / "vae").glob("*.safetensors"))
    path.write_bytes(save(load(path.read_bytes()) | {"encoder.surprise.weight": torch.zeros(3)}))


@pytest.mark.parametrize(("spoil", "said"), [
    (no_vae, r"^it has no autoencoder \(VAE\) in it; this program loads"),
    (no_unet, r"^it has no folder unet or transformer with weights in it; this program loads folders of"),
    (flux, r"^it is a folder of diffusers' FluxPipeline; this program loads folders of"),
    (no_json, r"^it: model_index.json is not JSON\.$"),
    (a_list, r"^it: model_index.json is not an object of JSON\.$"),
    (short_shard, r"^it/unet: diffusion_pytorch_model-00002-of-\d+.safetensors is cut off or damaged"),
    (lost_shard, r"^it/unet is incomplete: diffusion_pytorch_model-00002-of-\d+.safetensors is missing\.$"),
    (nonsense_index, r"^it/unet: diffusion_pytorch_model.safetensors.index.json is no index of shards\.$"),
    (index_that_leads_away, r"is no index of shards\.$"),
    (wrong_index, r"^it/unet: the index says that conv_in.weight is in .*, and it is not\.$"),
    (other_tensors, r"^it has a tensor that does not belong there: first_stage_model.encoder.surprise.weight\.$"),
])
def test_bad_folders_get_a_sentence(sharded: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    folder = shutil.copytree(sharded, tmp_path / "it")
    spoil(folder)
    with pytest.raises(CheckpointError, match=said):
        load_model(folder)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of("tiny-sd15", tmp_path_factory.mktemp("sharded") / "it", max_shard_size="200KB")
