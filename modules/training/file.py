"""From a TOML file with settings to a LoRA or an embedding among the others, with what cards and other programs read of
it."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save

from modules.errors import InvalidInput
from modules.networks.loader import Outline, about, load_model, outline
from modules.settings import Settings
from modules.training.config import EMBEDDING, TrainingConfig, read_config
from modules.training.dataset import Example, examples
from modules.training.loop import TYPES, Progress, check_kind, train
from modules.training.writing import write
from modules.weights import catalog
from modules.weights.catalog import CheckpointFile

USUAL_SIZE = 512
"""Pixels, of a checkpoint that does not tell its own."""
PREVIEW = 512
"""The longer side of the preview on the card, in pixels."""
LYCORIS = {"loha": {"algo": "loha"}, "dora": {"algo": "lora", "dora_wd": "True"}}
"""Arguments of kohya's network module `lycoris.kohya` for the kinds that it makes."""


def train_file(path: Path, settings: Settings, device: str, *, told: Callable[[Progress], object],
               stage: Callable[[str], None]) -> Path:
    """Trains what the file describes, and returns the path of what was learned. `told` may end it with False: then what
    was learned is written too, and the same call goes on and writes it anew. The state and the sample pictures are kept
    in the folder of the training's name. Raises UserError, and what `told` and `stage` raise; the same call goes on
    then, too."""
    config = read_config(path)
    out, folder = place_of(config, settings), settings.trainings_dir / config.name
    state = folder / "state.safetensors"
    if out.exists() and not state.exists():
        raise InvalidInput(f"There is a file called {config.name} already: {out}.", field="name")
    found = examples(config.datasets)
    checkpoint = find_checkpoint(config, settings)
    check_trainable(checkpoint)
    stage("Loading the checkpoint")
    model = load_model(checkpoint, device=torch.device(device), dtype=torch.float32, packs=False, keep_half=False,
                       denoiser_dtype=TYPES[config.precision])
    last: list[Image.Image] = []
    if not state.exists():
        for old in folder.glob("*.png"):
            old.unlink()

    def tell(progress: Progress) -> object:
        last[:] = progress.samples[:1] or last
        for number, sample in enumerate(progress.samples):
            write(sample_file(folder, progress.step, number), _png(sample))
        return told(progress)

    trained = train(model, config, found, size=size_of(checkpoint), state=state, told=tell, stage=stage,
                    spends=True)
    write(out, save(trained.tensors, metadata(config, checkpoint.model_name, found)))
    trigger = ", ".join(dict.fromkeys(dataset.trigger for dataset in config.datasets if dataset.trigger))
    if trigger and config.kind != EMBEDDING:
        words = {"activation text": trigger}
        write(out.with_suffix(".json"), json.dumps(words, ensure_ascii=False, indent=2).encode())
    for sample in last:
        sample.thumbnail((PREVIEW, PREVIEW))
        write(out.with_suffix(".preview.png"), _png(sample))
    if trained.finished:
        state.unlink(missing_ok=True)
    return out


def sample_file(folder: Path, step: int, number: int) -> Path:
    """A sample picture of a training whose folder is given, of a step and a prompt, counted from 0."""
    return folder / f"{step:07}-{number}.png"


def place_of(config: TrainingConfig, settings: Settings) -> Path:
    """Where what is learned is written."""
    folder = settings.embeddings_dir if config.kind == EMBEDDING else settings.folders("LoRAs")[0]
    return folder / f"{config.name}.safetensors"


def find_checkpoint(config: TrainingConfig, settings: Settings) -> CheckpointFile:
    """The checkpoint that is taught. Raises NotFound."""
    return catalog.Catalog(settings.checkpoint_dirs, settings.vae_dirs,
                           settings.cache_dir / "hashes.json").find(config.checkpoint)


def check_trainable(checkpoint: CheckpointFile) -> Outline:
    """What the header of a checkpoint tells. Raises InvalidInput for one of a kind that is not trained,
    CheckpointError."""
    whole = outline(checkpoint)
    check_kind(checkpoint.model_name, whole.inputs, whole.parts["unet"])
    return whole


def size_of(checkpoint: CheckpointFile) -> int:
    """The width and height in pixels that a checkpoint was trained on."""
    native, known = catalog.metadata(checkpoint.path).get("native_size", ""), about(checkpoint)
    return int(native[:5]) if native.isdecimal() else known.size if known else USUAL_SIZE


def metadata(config: TrainingConfig, checkpoint: str, found: Sequence[Example]) -> dict[str, str]:
    """What the page's cards and other programs read of the file: kohya's names."""
    new = [example for example in found if not example.regular]
    words = Counter(word.strip() for example in new for word in example.caption.split(",") if word.strip())
    arguments = LYCORIS.get(config.kind)
    return {
        "ss_network_module": "lycoris.kohya" if arguments else "networks.lora", "ss_network_dim": str(config.rank),
        **({"ss_network_args": json.dumps(arguments)} if arguments else {}),
        "ss_network_alpha": f"{config.alpha:g}", "ss_sd_model_name": checkpoint, "ss_output_name": config.name,
        "ss_learning_rate": f"{config.rate:g}", "ss_unet_lr": f"{config.rate:g}",
        "ss_text_encoder_lr": f"{config.text_rate:g}", "ss_optimizer": config.optimizer,
        "ss_lr_scheduler": config.schedule, "ss_steps": str(config.steps), "ss_seed": str(config.seed),
        "ss_total_batch_size": str(config.batch * config.accumulate), "ss_clip_skip": str(config.clip_skip),
        "ss_num_train_images": str(len(new)), "ss_num_reg_images": str(len(found) - len(new)),
        "ss_min_snr_gamma": f"{config.min_snr:g}", "ss_noise_offset": f"{config.noise_offset:g}",
        "ss_tag_frequency": json.dumps({config.name: dict(words.most_common(200))}, ensure_ascii=False),
        "modelspec.title": config.name,
    }


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
