"""Writes the trained networks as one Stable Diffusion 1.x file, fp16, with what a loader and a page want to know."""

from __future__ import annotations

import argparse
import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import captions
import scenes
import torch
from evaluate import Checkpoint
from latents import to_image
from loop import load_average
from model import Autoencoder, Sizes, TextEncoder, UNet
from PIL import Image
from safetensors.torch import save_file
from scenes import Scene
from text import Words
from torch import Tensor

THUMBNAIL = 40  # pixels a side
SEED = 1  # of the thumbnails
EXAMPLES: dict[tuple[str, str], tuple[Scene, ...]] = {
    ("Animals", "动物"): (
        Scene((("penguin", "black"),), "snow", time="night"),
        Scene((("cat", "orange"),), "grass", style="watercolour"),
        Scene((("unicorn", "white"),), "forest"),
    ),
    ("Travel", "出行"): (
        Scene((("boat", "red"),), "beach"),
        Scene((("car", "blue"),), "city"),
        Scene((("rocket", "red"),), "night sky"),
    ),
    ("Things", "物品"): (
        Scene((("umbrella", "purple"),), "pink", style="flat"),
        Scene((("mushroom", "red"),), "forest", "small", "left"),
        Scene((("star", "yellow"),), "blue", "big"),
    ),
    ("Two things", "两样东西"): (
        Scene((("balloon", "red"), ("teddy bear", "brown")), "blue"),
        Scene((("pumpkin", "orange"), ("rabbit", "white")), "grass", time="night"),
    ),
}


def examples(language: int) -> dict[str, list[str]]:
    """Prompts by category, in English (0) or Chinese (1)."""
    return {names[language]: [captions.plain_prompt(scene, bool(language)) for scene in some]
            for names, some in EXAMPLES.items()}


def surprises() -> tuple[str, str]:
    """A prompt with wildcards in English and in Chinese: each drawing of one is a scene that the world has."""
    def one_of(*texts: str) -> str:
        return f"{{{'|'.join(texts)}}}"

    english, chinese = [], []
    for thing in scenes.OBJECTS.values():
        coloured = thing.colours if len(thing.colours) > 1 else ()
        english.append(one_of(*(captions.article(f"{colour} {thing.words[0]}") for colour in coloured))
                       if coloured else captions.article(thing.words[0]))
        chinese.append((one_of(*(f"{scenes.COLOURS[colour][3]}的" for colour in coloured)) if coloured else "")
                       + thing.chinese[0])
    styles, lands = [words for name, words in scenes.STYLES.items() if name != "3d"], scenes.LANDS
    where = one_of("4::" + one_of(*(scenes.PLACES[land][0][0] for land in lands)) + "{3::| at night}",
                   "in the night sky", "on a grey background")
    place = one_of("4::{3::|夜晚}" + one_of(*(scenes.PLACES[land][1][0] for land in lands)), "夜空中", "灰色背景，")
    style = "{3::|" + "|".join(f"{captions.article(words[0][0])} of " for words in styles) + "}"
    said = "{3::|" + "|".join(f"{words[1][0]}，" for words in styles) + "}"
    one, other = one_of(*english), one_of(*chinese)
    return f"{style}{{3::{one}|{one} and {one}}} {where}", f"{said}{place}{{3::{other}|{other}和{other}}}"


def words_known() -> dict[str, object]:
    """What prompts may say, for the page to show."""
    english, in_chinese = surprises()
    chinese: dict[str, str] = {name: thing.chinese[0] for name, thing in scenes.OBJECTS.items()}
    chinese |= {name: colour[3] for name, colour in scenes.COLOURS.items()}
    chinese |= {name: plain[1] for name, plain in scenes.PLAIN.items() if name not in chinese}
    for table in (scenes.PLACES, scenes.STYLES):
        chinese |= {name: words[1][0] for name, words in table.items()}
    chinese |= {size: words[2][0] for size, words in scenes.SIZES.items() if words[2][0]}
    chinese |= {place: words[3][0] for place, words in scenes.POSITIONS.items() if words[3][0]}
    chinese |= {"at night": scenes.TIMES["night"][1][0]}
    return {
        "objects": list(scenes.OBJECTS),
        "colours": list(scenes.COLOURS),
        "backgrounds": list(scenes.BACKGROUNDS),
        "sizes": [size for size in scenes.SIZES if size != "normal"],
        "positions": ["on the left", "on the right", "above", "below"],
        "times": ["at night"],
        "styles": list(scenes.STYLES),
        "examples": examples(0),
        "surprise": english,
        "zh": {**chinese, "examples": examples(1), "surprise": in_chinese},
    }


def checkpoint(unet: UNet, vae: Autoencoder, text: TextEncoder, table: Tensor) -> dict[str, Tensor]:
    """All tensors with the original names, fp16. table: the whole token embedding (49408, D)."""
    out: dict[str, Tensor] = {}
    for prefix, module in (("model.diffusion_model.", unet), ("first_stage_model.", vae),
                           ("cond_stage_model.transformer.", text)):
        out |= {prefix + k: v for k, v in module.state_dict().items()}
    out["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"] = table
    weight, bias = out["first_stage_model.quant_conv.weight"].clone(), out["first_stage_model.quant_conv.bias"].clone()
    weight[4:], bias[4:] = 0, -30  # the encoder knows no doubt: encoding is the same each time
    out["first_stage_model.quant_conv.weight"], out["first_stage_model.quant_conv.bias"] = weight, bias
    return {k: v.detach().half().contiguous() for k, v in out.items()}


def metadata(sizes: Sizes, samples: int, vae_samples: int, side: int) -> dict[str, str]:
    return {
        "title": "Emoji Mini",
        "unet_heads": str(sizes.unet_heads),
        "unet_norm_groups": str(sizes.unet_groups),
        "vae_norm_groups": str(sizes.vae_groups),
        "text_heads": str(sizes.text_heads),
        "native_size": str(side),
        "guidance": "3",
        "words": json.dumps(words_known(), ensure_ascii=False),
        "licence": "MIT; trained on @lobehub/fluent-emoji-3d 1.1.0 (MIT), after Microsoft Fluent Emoji (MIT)",
        "samples": str(samples),
        "vae_samples": str(vae_samples),
        "format": "pt",
    }


def thumbnails(path: Path, merges: Path) -> str:
    """What a checkpoint file draws for the examples, as the metadata have it."""
    prompts, texts = [prompt for some in examples(0).values() for prompt in some], []
    for picture in Checkpoint(path, merges).draw(prompts, SEED):
        content = io.BytesIO()
        small = to_image(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        small.save(content, "WEBP", quality=80)
        texts.append(base64.b64encode(content.getvalue()).decode())
    return json.dumps(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--state", type=Path, default=Path("cache/training/state"))
    parser.add_argument("--merges", type=Path, default=Path("modules/networks/text/tokenizer/merges.txt"))
    parser.add_argument("--out", type=Path, default=Path("models/Stable-diffusion/emoji-mini.safetensors"))
    parser.add_argument("--side", type=int, default=scenes.SIZE, help="the size that the UNet was trained for last")
    parser.add_argument("--average", type=float, help="which of the UNet's moving averages; the first one if not given")
    args = parser.parse_args()
    sizes, words = Sizes(), Words(args.data / "bpe.txt.gz")
    unet, vae = UNet(sizes), Autoencoder(sizes)
    text = TextEncoder(replace(sizes, vocabulary=len(words)))
    decoder = "sharp" if (args.state / "sharp.pt").exists() else "vae"
    for name, module, file in (("unet", unet, "unet"), ("text", text, "text"), ("vae", vae, decoder)):
        load_average(module, args.state / f"{file}.pt", name, args.average if name == "unet" else None)
    seen = {file: torch.load(args.state / f"{file}.pt", map_location="cpu")["samples"]
            for file in ("unet", "vae", "sharp") if (args.state / f"{file}.pt").exists()}
    table = words.expand(text.text_model.embeddings.token_embedding.weight.detach())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    tensors = checkpoint(unet, vae, text, table)
    told = metadata(sizes, seen["unet"], seen["vae"] + seen.get("sharp", 0), args.side)
    save_file(tensors, args.out, told)
    save_file(tensors, args.out, told | {"thumbnails": thumbnails(args.out, args.merges)})
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, {seen['unet']} samples")


if __name__ == "__main__":
    main()
