"""The bodies of WebUI's HTTP API, and how they become requests. Names and defaults are WebUI's, not the page's.

A body has every plain field that its request declares. A class below adds what only WebUI's API has, and declares anew
what WebUI's API gives another type or default. Unknown fields are ignored and null means the default, because programs
rely on that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from PIL import Image
from pydantic import Field, create_model

from modules.api import pictures
from modules.api.body import Body, Integer, Number, Text
from modules.api.control_units import CONTROLNET, control_units
from modules.api.detail import ADETAILER, detail_passes
from modules.api.loose import TEXT, WHOLE, LooseDict, LooseStr
from modules.errors import InvalidInput, UserError
from modules.request import Img2Img, Inpaint, MaskedContent, ResizeMode, ScriptCall, SoftInpainting, Txt2Img
from modules.request.fields import Declared, declared, own
from modules.request.options import Options
from modules.text.infotext import Changes, parse, to_changes
from modules.text.styles import Style, apply_styles

if TYPE_CHECKING:
    from modules.sampling.registry import Sampler

SAME = ("", None, "Use same sampler", "Use same scheduler", "Use same checkpoint", "None")
"""Names that mean none of their own."""

WEBUI_NAMES = {item.name: item.api for item in declared(Inpaint) if item.api}
"""Fields of requests that WebUI's API calls otherwise, and its names."""
OWN_NAMES = {api: name for name, api in WEBUI_NAMES.items()}
"""The same the other way round."""


class UnknownSampler(UserError):
    """WebUI answers 400 for it."""

    status = 400


def with_fields(base: type[Body], items: Sequence[Declared]) -> type[Body]:
    """Return a body that adds to `base` a field for each plain one of `items`."""
    types: dict[type, Any] = {bool: bool, int: Integer, float: Number, str: Text}
    fields: dict[str, Any] = {item.api or item.name: (types[item.kind] if item.default is not None
                                                      else types[item.kind] | None, item.default)
                              for item in items if item.is_plain}
    return create_model(base.__name__, __base__=base, **fields)


if TYPE_CHECKING:
    Txt2ImgFields = Body
else:
    Txt2ImgFields = with_fields(Body, declared(Txt2Img))


class Txt2ImgBody(Txt2ImgFields):
    """POST /sdapi/v1/txt2img. As in WebUI `save_images` decides what is saved, whatever the two `do_not_save_` say."""

    # WebUI's own defaults and types
    subseed_strength: Number = 0
    seed_resize_from_h: Integer = -1
    seed_resize_from_w: Integer = -1
    scheduler: LooseStr | None = None
    steps: Integer = 50
    hr_upscaler: LooseStr | None = None
    hr_checkpoint_name: LooseStr | None = None
    hr_sampler_name: LooseStr | None = None
    hr_scheduler: LooseStr | None = None
    refiner_checkpoint: LooseStr | None = None
    # not a request's
    styles: list[LooseStr] = Field([])
    sampler_name: LooseStr | None = None
    sampler_index: LooseStr = "Euler"
    restore_faces: bool | None = None
    tiling: bool | None = None
    s_min_uncond: Number | None = None
    s_churn: Number | None = None
    s_tmin: Number | None = None
    s_tmax: Number | None = None
    s_noise: Number | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    firstpass_image: str | None = None
    firstphase_width: Integer = 0
    firstphase_height: Integer = 0
    alwayson_scripts: LooseDict = Field({})
    script_name: Annotated[str, Field(max_length=200), TEXT] | None = None
    script_args: list[Any] = Field([])
    override_settings: LooseDict = Field({})
    override_settings_restore_afterwards: bool = True
    send_images: bool = True
    save_images: bool = False
    comments: LooseDict | None = None
    force_task_id: Annotated[str, Field(max_length=200), TEXT] | None = None
    infotext: Text | None = None
    # ours
    go_on_from: Annotated[str, Field(max_length=200), TEXT] = ""

    def request(self, options: Options, *, max_pixels: int, styles: Sequence[Style] = (),
                samplers: Sequence[Sampler] | None = None) -> Txt2Img:
        """Return the request that this body asks for. Raises UserError naming the field.

        `max_pixels` limits img2img's pictures. Without `samplers` there are ours only.
        """
        values = self.common(options, styles, samplers, max_pixels)
        if self.firstpass_image:
            values["first_pass"] = pictures.open_picture(self.firstpass_image, "firstpass_image", max_pixels)
        return Txt2Img(**values)

    def common(self, options: Options, styles: Sequence[Style], samplers: Sequence[Sampler] | None,
               max_pixels: int) -> dict[str, Any]:
        """Return what txt2img and img2img share, as arguments of a request."""
        changes = to_changes(parse(self.infotext)) if self.infotext else Changes()
        sampler, scheduler = self._sampler(changes, samplers)
        overrides = as_webui_means({**changes.options, **self.override_settings})
        fields = {"tiling": self.tiling, "face_restoration": self.restore_faces, "s_min_uncond": self.s_min_uncond}
        overrides |= {option: value for option, value in fields.items() if value is not None}
        churn = {"s_churn": self.s_churn, "s_tmin": self.s_tmin, "s_tmax": self.s_tmax, "s_noise": self.s_noise}
        in_force, usual = options.replaced(overrides), Options()
        overrides |= {option: value for option, value in churn.items()  # an option that is set wins here, as in WebUI
                      if value is not None and getattr(in_force, option) == getattr(usual, option)}
        values = self._values(declared(Txt2Img))
        values |= {"seed_resize_from_w": max(self.seed_resize_from_w, 0), "seed_resize_from_h":
                   max(self.seed_resize_from_h, 0), "hr_upscaler": self.hr_upscaler or "Latent"}
        values |= {name: "" if values[name] in SAME else values[name]
                   for name in ("hr_sampler", "hr_scheduler", "hr_checkpoint", "refiner_checkpoint")}
        values |= {name: changes.fields[name] for name in values
                   if name in changes.fields and WEBUI_NAMES.get(name, name) not in self.model_fields_set}
        prompts = values["prompt"], values["negative_prompt"]
        values["prompt"], values["negative_prompt"] = apply_styles(self.styles, styles, *prompts)
        if values["hr_prompt"] or values["hr_negative_prompt"]:
            values["hr_prompt"], values["hr_negative_prompt"] = apply_styles(
                self.styles, styles, values["hr_prompt"] or prompts[0], values["hr_negative_prompt"] or prompts[1])
        if values["enable_hr"] and (self.firstphase_width or self.firstphase_height):  # of old: the first pass's size
            values |= {"hr_resize_x": values["width"], "hr_resize_y": values["height"],
                       "width": self.firstphase_width, "height": self.firstphase_height}
        named = self.script_name and self.script_name.lower() != "none"
        script = ScriptCall(str(self.script_name), tuple(self.script_args)) if named else None
        in_force = options.replaced(overrides)
        units = control_units(self.alwayson_scripts, in_force.control_net_unit_count, max_pixels)
        return {**values, "sampler": sampler, "scheduler": scheduler, "script": script, "control_units": units,
                "detail": detail_passes(self.alwayson_scripts),
                "always_on": switched_on(self.alwayson_scripts), "options": in_force}

    def _values(self, items: Sequence[Declared]) -> dict[str, Any]:
        """The values of the plain fields among `items`, under the request's names."""
        return {item.name: getattr(self, item.api or item.name) for item in items if item.is_plain}

    def _sampler(self, changes: Changes, samplers: Sequence[Sampler] | None) -> tuple[str, str]:
        """Return (sampler, schedule) by WebUI's names. Raises UnknownSampler."""
        from modules.sampling import registry  # here: it brings torch, and the server answers before that is there

        name, scheduler = self.sampler_name or self.sampler_index, self.scheduler or "Automatic"
        if not self.model_fields_set & {"sampler_name", "sampler_index"}:
            name = changes.fields.get("sampler", name)
        if self.scheduler is None:
            scheduler = changes.fields.get("scheduler", scheduler)
        try:
            sampler, schedule = registry.resolve(name, scheduler, samplers or registry.SAMPLERS)
        except InvalidInput as error:
            raise UnknownSampler(error.message, field=error.field) from error
        return sampler.name, schedule

    def echo(self) -> dict[str, Any]:
        """Return the body as the answer repeats it."""
        return self.model_dump()


if TYPE_CHECKING:
    Img2ImgFields = Txt2ImgBody
else:
    Img2ImgFields = with_fields(Txt2ImgBody, (*own(Img2Img), *own(Inpaint)))


class Img2ImgBody(Img2ImgFields):
    """POST /sdapi/v1/img2img. Unlike the page it begins with "fill" and "Only masked", as WebUI's API does."""

    # WebUI's own defaults and types
    inpainting_mask_invert: Annotated[int, Field(ge=0, le=1), WHOLE] = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Integer = 0
    # what is no flag, number or text in a request, or not a request's
    inpainting_fill: Annotated[int, Field(ge=0, le=4), WHOLE] = 0
    init_images: list[str] = Field([])
    resize_mode: Annotated[int, Field(ge=0, le=3), WHOLE] = 0
    mask: str | None = None
    mask_blur: Integer | None = None
    latent_mask: str | None = None
    include_init_images: bool = False
    # ours
    depth_map: str | None = None
    mask_words: Annotated[str, Field(max_length=500), TEXT] = ""
    then_mask: str | None = None
    photograph_format: Annotated[str, Field(pattern="^(png|tiff|webp|jpeg|original)?$")] = ""

    def request(self, options: Options, *, max_pixels: int, styles: Sequence[Style] = (),
                samplers: Sequence[Sampler] | None = None) -> Img2Img:
        """Return the request that this body asks for, its pictures still packed (`pictures.unpacked_request`).

        Raises UserError naming the field, NoInitImage.
        """
        if not self.init_images:
            raise NoInitImage("There is no init image: init_images is empty.", field="init_images")
        common = self.common(options, styles, samplers, max_pixels)
        common |= self._values(own(Img2Img)) | {
            "init_images": tuple(pictures.open_picture(text, "init_images", max_pixels) for text in self.init_images),
            "resize_mode": ResizeMode(self.resize_mode), "enable_hr": False}
        if self.depth_map:
            common["depth_map"] = pictures.open_picture(self.depth_map, "depth_map", max_pixels)
        mask = self._mask(common["init_images"][0], max_pixels)
        values = common if not mask else common | self._values(own(Inpaint)) | {
            "mask": mask,
            "mask_invert": bool(self.inpainting_mask_invert), "masked_content": MaskedContent(self.inpainting_fill),
            "soft": soft_inpainting(self.alwayson_scripts)}
        if mask and self.then_mask:
            values["then_mask"] = pictures.open_picture(self.then_mask, "then_mask", max_pixels)
        if mask and self.mask_blur is not None:
            values |= {"mask_blur_x": self.mask_blur, "mask_blur_y": self.mask_blur}
        if self.infotext:
            values |= self._pasted(values)
        return Inpaint(**values) if mask else Img2Img(**values)

    def _mask(self, picture: Image.Image, max_pixels: int) -> Image.Image | None:
        """The mask of a request that starts from `picture`, still packed: empty where only words make it. Raises
        InvalidInput."""
        text = self.mask or self.latent_mask
        if self.mask_words and len(self.init_images) > 1:
            raise InvalidInput("Words make the mask of one picture: send several one by one.", field="mask_words")
        if text:
            return pictures.open_picture(text, "mask" if self.mask else "latent_mask", max_pixels)
        return pictures.empty_mask(picture) if self.mask_words else None

    def _pasted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters text's values for the picture's and the mask's fields that the body does not set."""
        found = to_changes(parse(self.infotext or "")).fields
        set_here = {OWN_NAMES.get(name, name) for name in self.model_fields_set}
        if "mask_blur" in self.model_fields_set:
            set_here |= {"mask_blur_x", "mask_blur_y"}
        names = set(values) - set(Txt2Img.__dataclass_fields__) - set_here
        return {name: found[name] for name in names if name in found}

    def echo(self) -> dict[str, Any]:
        if self.include_init_images:
            return self.model_dump()
        return self.model_dump() | {"init_images": None, "mask": None, "depth_map": None, "then_mask": None}


def soft_inpainting(scripts: Mapping[str, Any]) -> SoftInpainting | None:
    """The always-on script "soft inpainting": args are [enabled, power, scale, detail, influence, threshold, contrast],
    those left out at their defaults. Raises InvalidInput for a value that is no number."""
    script = next((script for name, script in scripts.items() if name.lower() == "soft inpainting"), None)
    args = script.get("args") if isinstance(script, Mapping) else None
    if not isinstance(args, list) or not args or not args[0]:
        return None
    names = [item.name for item in dataclasses.fields(SoftInpainting)]
    given = dict(zip(names, args[1:], strict=False))
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in given.values()):
        raise InvalidInput("Soft inpainting takes numbers after its first argument.", field="alwayson_scripts")
    return SoftInpainting(**given)


def switched_on(scripts: Mapping[str, Any]) -> tuple[ScriptCall, ...]:
    """Extensions' controls whose first argument, their switch, is on, with the arguments behind it."""
    found = {name: script.get("args") for name, script in scripts.items()
             if isinstance(script, Mapping) and name.lower() not in ("soft inpainting", CONTROLNET, ADETAILER)}
    return tuple(ScriptCall(name, tuple(args[1:])) for name, args in found.items()
                 if isinstance(args, list) and args and args[0])


class NoInitImage(UserError):
    """WebUI answers 404 for it."""

    status = 404


class PngInfoBody(Body):
    """POST /sdapi/v1/png-info."""

    image: str = ""


class ProgressBody(Body):
    """POST /internal/progress, which WebUI's page polls."""

    id_task: str = ""
    id_live_preview: Integer = -1
    live_preview: bool = True


def in_webui_words(error: UserError) -> UserError:
    """Give `error` the field's name as WebUI's API spells it, and return it."""
    webui = WEBUI_NAMES.get(error.field or "")
    if webui:
        error.message = error.message.replace(str(error.field), webui)
        error.field = webui
    return error


def as_webui_means(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the values that WebUI takes for others: clip skip 0 is 1."""
    clip_skip = "CLIP_stop_at_last_layers"
    return {**options, **({clip_skip: 1} if options.get(clip_skip) in (0, "0") else {})}


def option_values(options: Options) -> dict[str, Any]:
    """Return every option by name."""
    return dataclasses.asdict(options)
