"""Writes the trained networks as one Stable Diffusion 1.x file, fp16, with what a loader and a page want to know."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import captions
import scenes
import torch
from loop import load_average
from model import Autoencoder, Sizes, TextEncoder, UNet
from safetensors.torch import save_file
from text import Words
from torch import Tensor

EXAMPLES = (
    "a red boat on the beach", "a penguin in the snow at night", "a blue car in the city", "a big yellow star",
    "a watercolour of a cat on the grass", "a red balloon and a teddy bear on a blue background",
    "a unicorn in the forest", "a rocket in the night sky",
    "a purple umbrella on a pink background, flat illustration",
    "a small red mushroom on the left in the forest",
)
CHINESE_EXAMPLES = (
    "沙滩上红色的船", "夜晚雪地上企鹅", "水彩画，草地上橙色的猫", "左边红色的气球和右边泰迪熊，蓝色背景",
)


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
        "examples": list(EXAMPLES),
        "surprise": english,
        "zh": {**chinese, "examples": list(CHINESE_EXAMPLES), "surprise": in_chinese},
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("cache/training"))
    parser.add_argument("--state", type=Path, default=Path("cache/training/state"))
    parser.add_argument("--out", type=Path, default=Path("models/Stable-diffusion/emoji-mini.safetensors"))
    parser.add_argument("--side", type=int, default=scenes.SIZE, help="the size that the UNet was trained for last")
    parser.add_argument("--average", type=float, help="which of the UNet's moving averages; the first one if not given")
    args = parser.parse_args()
    sizes, words = Sizes(), Words(args.data / "bpe.txt.gz")
    unet, vae = UNet(sizes), Autoencoder(sizes)
    text = TextEncoder(replace(sizes, vocabulary=len(words)))
    seen = {}
    for name, module, file in (("unet", unet, "unet"), ("text", text, "text"), ("vae", vae, "vae")):
        load_average(module, args.state / f"{file}.pt", name, args.average if name == "unet" else None)
        seen[name] = torch.load(args.state / f"{file}.pt", map_location="cpu")["samples"]
    table = words.expand(text.text_model.embeddings.token_embedding.weight.detach())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(checkpoint(unet, vae, text, table), args.out, metadata(sizes, seen["unet"], seen["vae"], args.side))
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, {seen['unet']} samples")


if __name__ == "__main__":
    main()
