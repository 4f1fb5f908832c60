"""What there is to choose from: samplers, schedules, checkpoints, VAEs, upscalers, styles; flags, memory, and the text
inside a picture."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from modules.api import pictures
from modules.api.json_values import check_answerable
from modules.api.schema import PngInfoBody
from modules.base.memory_in_use import memory_in_use
from modules.base.unicode import without_surrogates
from modules.engine.engine import Engine
from modules.imaging.upscale import LATENT_UPSCALERS
from modules.settings import Settings
from modules.text import image_metadata, infotext
from modules.text.styles import load_styles

if TYPE_CHECKING:
    from modules.networks.text.words import Embedding

EMPTY: dict[str, Any] = {"realesrgan-models": []}
"""Lists of things that we have none of; programs ask for them before they do anything."""


UPSCALE = 4
"""What WebUI says of an upscaler whose file it has not read."""


def router(engine: Engine, settings: Settings) -> APIRouter:
    """The endpoints that only tell, and those that look again."""
    api = APIRouter(prefix="/sdapi/v1")
    _add_choices(api, engine, settings)
    _add_models(api, engine)
    _add_networks(api, engine)
    _add_facts(api, engine, settings)
    for name, value in EMPTY.items():
        api.add_api_route(f"/{name}", lambda value=value: value, methods=["GET"], name=name, response_model=None)
    return api


def _add_choices(api: APIRouter, engine: Engine, settings: Settings) -> None:
    """What a request may name, but the files of models and networks."""

    @api.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        return [{"name": sampler.name, "aliases": list(sampler.aliases), "options": _sampler_options(sampler)}
                for sampler in engine.samplers]

    @api.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        from modules.sampling.schedules import SCHEDULES

        automatic = {"name": "automatic", "label": "Automatic", "aliases": None, "default_rho": -1.0,
                     "need_inner_model": False}
        return [automatic, *({"name": schedule.name, "label": schedule.label,
                              "aliases": list(schedule.aliases) or None, "default_rho": schedule.default_rho,
                              "need_inner_model": schedule.name not in _WITHOUT_MODEL} for schedule in SCHEDULES)]

    @api.get("/upscalers")
    def upscalers() -> list[dict[str, Any]]:
        files = engine.upscalers.files()
        return [{"name": name, "model_name": name if name in files else None,
                 "model_path": str(files[name]) if name in files else None, "model_url": None, "scale": UPSCALE}
                for name in engine.upscalers.names_for_programs()]

    @api.get("/face-restorers")
    def face_restorers() -> list[dict[str, Any]]:
        return [{"name": name, "cmd_dir": None} for name in engine.restorers.names()]

    @api.get("/latent-upscale-modes")
    def latent_upscale_modes() -> list[dict[str, str]]:
        return [{"name": name} for name in LATENT_UPSCALERS]

    @api.get("/prompt-styles")
    def prompt_styles() -> list[dict[str, str]]:
        return [dataclasses.asdict(style) for style in load_styles(settings.styles_file)]


def _add_models(api: APIRouter, engine: Engine) -> None:
    """Checkpoints and autoencoders."""

    @api.get("/sd-models")
    def sd_models() -> list[dict[str, Any]]:
        return [{"title": file.title, "model_name": file.model_name, "hash": file.shorthash, "sha256": file.sha256,
                 "filename": str(file.path), "config": None} for file in engine.catalog.checkpoints()]

    @api.get("/sd-vae")
    def sd_vae() -> list[dict[str, Any]]:
        return [{"model_name": file.name, "filename": str(file.path)} for file in engine.catalog.vaes()]

    @api.post("/refresh-checkpoints")
    def refresh_checkpoints() -> None:
        engine.catalog.refresh()

    @api.post("/refresh-vae")
    def refresh_vae() -> None:
        engine.catalog.refresh()


def _add_networks(api: APIRouter, engine: Engine) -> None:
    """LoRAs, hypernetworks and embeddings."""

    @api.get("/loras")
    def loras() -> list[dict[str, Any]]:
        files = engine.networks.loras
        return [{"name": file.name, "alias": files.alias(file), "path": str(file.path),
                 "metadata": _trained(files.metadata(file))} for file in files.files()]

    @api.get("/hypernetworks")
    def hypernetworks() -> list[dict[str, Any]]:
        return [{"name": file.name, "path": str(file.path)} for file in engine.networks.hypernetworks.files()]

    @api.get("/embeddings")
    def embeddings() -> dict[str, Any]:
        found = engine.networks.embeddings_for(engine.loaded.model if engine.loaded else None)
        return {"loaded": {one.name: _embedding(one) for one in found.loaded},
                "skipped": {one.name: _embedding(one) for one in found.skipped}}

    @api.post("/refresh-loras")
    def refresh_loras() -> None:
        engine.networks.loras.refresh()

    @api.post("/refresh-embeddings")
    def refresh_embeddings() -> None:
        engine.networks.embeddings.refresh()


def _add_facts(api: APIRouter, engine: Engine, settings: Settings) -> None:
    """Flags, memory, and the text inside a picture."""

    @api.get("/cmd-flags")
    def cmd_flags() -> dict[str, Any]:
        return settings.public()

    @api.get("/memory")
    def memory() -> dict[str, Any]:
        workers = [{"number": worker["number"], **worker["memory"]} for worker in engine.workers()]
        return memory_in_use() | ({"workers": workers} if workers else {})

    @api.post("/png-info")
    def png_info(body: PngInfoBody) -> dict[str, Any]:
        image = pictures.open_picture(body.image, "image", settings.max_image_mp * 10**6)
        items = {name: value for name, value in image.info.items() if isinstance(value, str)}
        items.pop(image_metadata.PARAMETERS, None)
        text = image_metadata.read(image)
        return {"info": text, "items": items, "parameters": infotext.parse(text)}


def _trained(metadata: dict[str, str]) -> dict[str, Any]:
    """The notes in a LoRA's header, those that are JSON as values, as WebUI gives them."""
    values: dict[str, Any] = {}
    for key, text in metadata.items():
        values[key] = without_surrogates(text)
        if text[:1] == "{":
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(text)
                check_answerable(value)
                values[key] = value
    return values


def _embedding(one: Embedding) -> dict[str, Any]:
    """An embedding under WebUI's names."""
    vectors = next(iter(one.vectors.values()))
    details = {key: value if isinstance(value, (int, str)) else None for key, value in one.details.items()}
    return {"step": details.get("step"), "sd_checkpoint": details.get("sd_checkpoint"),
            "sd_checkpoint_name": details.get("sd_checkpoint_name"), "shape": vectors.shape[1], "vectors": one.count}


_WITHOUT_MODEL = ("karras", "exponential", "polyexponential", "kl_optimal", "align_your_steps")


def _sampler_options(sampler: Any) -> dict[str, str]:
    """WebUI's flags of a sampler, as its API has them."""
    options: dict[str, str] = {}
    if not sampler.timesteps and sampler.schedule != "uniform":
        options["scheduler"] = sampler.schedule
    for name, on in (("second_order", sampler.second_order), ("uses_ensd", sampler.uses_ensd),
                     ("discard_next_to_last_sigma", sampler.discard_next_to_last)):
        if on:
            options[name] = "True"
    return options
