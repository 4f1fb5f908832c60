"""One pass of the detailer: what is looked for in a finished picture, and how each find is painted anew.

Names, labels and defaults are those of the ADetailer extension; `text` is its key in the parameters text, and its API
calls a field `ad_` and the name here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.annotate.registry import usual_for
from modules.errors import InvalidInput
from modules.request.control import NO_MODEL, ControlUnit
from modules.request.fields import check_ranges, field

MOST_PASSES = 4
MERGES = NOT_MERGED, MERGED, MERGED_AND_INVERTED = ("None", "Merge", "Merge and Invert")
SAME_SAMPLER, SAME_SCHEDULER = "Use same sampler", "Use same scheduler"
SAME_CHECKPOINT, SAME_VAE = "Use same checkpoint", "Use same VAE"
PASSTHROUGH = "Passthrough"
"""What stands for the ControlNet units of the picture."""
SEPARATOR, SKIP, PROMPT = "[SEP]", "[SKIP]", "[PROMPT]"
"""Words in the prompts of a pass: between the prompts of single finds, for a find that stays as it is, and for the
picture's own prompt."""


@dataclass(frozen=True, kw_only=True)
class DetailPass:
    """One pass that is switched on. Sizes and distances are in pixels of the picture.

    `model` is a detector's name; of its finds those with at least the `confidence`, of the classes in `model_classes`
    (all, if that is empty) and between the two shares of the picture's area are taken, and of these the
    `mask_k_largest`, or all for 0. A find's box is moved by (`x_offset`, `y_offset`), x to the right and y upwards,
    then made `dilate_erode` wider and taller, or narrower and lower if that is negative. Raises InvalidInput for a
    value out of range.
    """

    model: str = field("Face", "Detector", "What looks for the parts to paint anew. Choose the one for what you want "
                       "to mend.", text="ADetailer model")
    model_classes: str = field("", "Classes, comma separated", "The classes that count, of a detector that knows "
                               "several. Empty takes all.", text="ADetailer model classes")
    prompt: str = field("", "Detailer prompt", "What the finds should show. Empty takes the picture's prompt; "
                        "[PROMPT] stands for it, [SEP] is between single finds, [SKIP] leaves one out.",
                        text="ADetailer prompt")
    negative_prompt: str = field("", "Detailer negative prompt", "What the finds should not show. Empty takes "
                                 "the picture's; [SEP] is between single finds.", text="ADetailer negative prompt")
    confidence: float = field(0.3, "Detection confidence", "How sure the detector must be. Raise it where it finds "
                              "what is not there.", low=0.0, high=1.0, text="ADetailer confidence")
    mask_k_largest: int = field(0, "Only the largest finds", "How many finds are painted anew, the largest. 0 "
                                "takes all.", low=0, high=1000, shown=(0, 10), text="ADetailer mask only top k largest")
    mask_min_ratio: float = field(0.0, "Smallest share of the picture", "Finds with a smaller area are left alone. "
                                  "Raise it to skip faces far away.", low=0.0, high=1.0, step=0.001,
                                  text="ADetailer mask min ratio")
    mask_max_ratio: float = field(1.0, "Largest share of the picture", "Finds with a larger area are left alone. Lower "
                                  "it to skip portraits.", low=0.0, high=1.0, step=0.001,
                                  text="ADetailer mask max ratio")
    x_offset: int = field(0, "Mask x offset", "Moves each mask to the right, or to the left if it is negative.",
                          low=-4096, high=4096, shown=(-200, 200), text="ADetailer x offset")
    y_offset: int = field(0, "Mask y offset", "Moves each mask up, or down if it is negative.", low=-4096, high=4096,
                          shown=(-200, 200), text="ADetailer y offset")
    dilate_erode: int = field(4, "Mask erosion (-) / dilation (+)", "By how many pixels each mask gets wider and "
                              "taller, or smaller if it is negative. Raise it where too little is covered.",
                              low=-512, high=512, shown=(-128, 128), text="ADetailer dilate erode")
    mask_merge_invert: str = field(NOT_MERGED, "Mask merge mode", "Merge paints all finds at once. Merge and Invert "
                                   "paints everything but them.", choices=MERGES, text="ADetailer mask merge invert")
    mask_blur: int = field(4, "Inpaint mask blur", "By how many pixels the edge of the new part is softened. Raise it "
                           "where a seam shows.", low=0, high=512, shown=(0, 64), text="ADetailer mask blur")
    denoising_strength: float = field(0.4, "Inpaint denoising strength", "How much the finds may change. 0.4 keeps who "
                                      "it is; more draws another face.", low=0.0, high=1.0,
                                      text="ADetailer denoising strength")
    inpaint_only_masked: bool = field(True, "Inpaint only masked", "Works on each find at full resolution. Off, the "
                                      "whole picture is drawn again around it.", text="ADetailer inpaint only masked")
    inpaint_only_masked_padding: int = field(
        32, "Inpaint only masked padding, pixels", "How many pixels around a find the sampler sees. Raise it where the "
        "face does not fit.", low=0, high=4096, shown=(0, 256), step=4, text="ADetailer inpaint padding")
    use_inpaint_width_height: bool = field(False, "Use separate width/height", "Draws finds at the size below, not at "
                                           "the picture's.", text="ADetailer use inpaint width height")
    inpaint_width: int = field(512, "inpaint width", "The width at which a find is drawn.", low=1, high=16384,
                               shown=(64, 2048), step=8, text="ADetailer inpaint width")
    inpaint_height: int = field(512, "inpaint height", "The height at which a find is drawn.", low=1, high=16384,
                                shown=(64, 2048), step=8, text="ADetailer inpaint height")
    use_steps: bool = field(False, "Use separate steps", "Takes the steps below, not the picture's.",
                            text="ADetailer use separate steps")
    steps: int = field(28, "ADetailer steps", "The sampling steps of a find.", low=1, high=10000, shown=(1, 150),
                       text="ADetailer steps")
    use_cfg_scale: bool = field(False, "Use separate CFG scale", "Takes the CFG scale below, not the picture's.",
                                text="ADetailer use separate CFG scale")
    cfg_scale: float = field(7.0, "ADetailer CFG scale", "How closely a find follows its prompt.", low=0.0, high=1000.0,
                             shown=(0, 30), step=0.5, text="ADetailer CFG scale")
    use_checkpoint: bool = field(False, "Use separate checkpoint", "Takes the checkpoint below, not the picture's. "
                                 "Changing it costs time, and memory for both.",
                                 text="ADetailer use separate checkpoint")
    checkpoint: str = field(SAME_CHECKPOINT, "ADetailer checkpoint", "The checkpoint that draws the finds.",
                            text="ADetailer checkpoint")
    use_vae: bool = field(False, "Use separate VAE", "Takes the VAE below, not the picture's.",
                          text="ADetailer use separate VAE")
    vae: str = field(SAME_VAE, "ADetailer VAE", "The VAE of a find.", text="ADetailer VAE")
    use_sampler: bool = field(False, "Use separate sampler", "Takes the sampler below, not the picture's.",
                              text="ADetailer use separate sampler")
    sampler: str = field(SAME_SAMPLER, "ADetailer sampler", "The sampling method of a find.", text="ADetailer sampler")
    scheduler: str = field(SAME_SCHEDULER, "ADetailer scheduler", "The schedule of a find's steps.",
                           text="ADetailer scheduler")
    use_noise_multiplier: bool = field(False, "Use separate noise multiplier", "Takes the multiplier below, not the "
                                       "picture's.", text="ADetailer use separate noise multiplier")
    noise_multiplier: float = field(1.0, "Noise multiplier for img2img", "Multiplies the noise that a find starts "
                                    "from.", low=0.5, high=1.5, text="ADetailer noise multiplier")
    use_clip_skip: bool = field(False, "Use separate CLIP skip", "Takes the clip skip below, not the picture's.",
                                text="ADetailer use separate CLIP skip")
    clip_skip: int = field(1, "ADetailer CLIP skip", "How many of the text encoder's last layers are left out, plus 1.",
                           low=1, high=12, text="ADetailer CLIP skip")
    restore_face: bool = field(False, "Restore faces after ADetailer", "Restores the faces of each find with the face "
                               "restoration model.", text="ADetailer restore face")

    controlnet_model: str = field(NO_MODEL, "ControlNet model", "A control network that holds each find to what it "
                                  "was. Passthrough takes the units of the picture.", text="ADetailer ControlNet model")
    controlnet_module: str = field(NO_MODEL, "ControlNet module", "What makes the map for it. None takes what suits "
                                   "the model.", text="ADetailer ControlNet module")
    controlnet_weight: float = field(1.0, "ControlNet weight", "How strongly the map is followed.", low=0.0, high=2.0,
                                     step=0.05, text="ADetailer ControlNet weight")
    controlnet_guidance_start: float = field(
        0.0, "ControlNet guidance start", "The share of the steps before the control network begins to work.", low=0.0,
        high=1.0, text="ADetailer ControlNet guidance start")
    controlnet_guidance_end: float = field(
        1.0, "ControlNet guidance end", "The share of the steps after which it stops.", low=0.0, high=1.0,
        text="ADetailer ControlNet guidance end")

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.controlnet_guidance_start > self.controlnet_guidance_end:
            raise InvalidInput("controlnet_guidance_start must not be after controlnet_guidance_end.",
                               field="controlnet_guidance_start")
        if self.mask_merge_invert not in MERGES:
            raise InvalidInput(f"mask_merge_invert must be one of {', '.join(MERGES)}, not "
                               f"{self.mask_merge_invert[:100]!r}.", field="mask_merge_invert")

    def units(self, own: Sequence[ControlUnit]) -> tuple[ControlUnit, ...]:
        """The control units of a find, whose picture they follow; `own` are those of the whole picture."""
        if self.controlnet_model in ("", NO_MODEL):
            return ()
        if self.controlnet_model == PASSTHROUGH:
            return tuple(own)
        module = self.controlnet_module
        return (ControlUnit(model=self.controlnet_model, weight=self.controlnet_weight,
                            module=usual_for(self.controlnet_model) if module in ("", NO_MODEL) else module,
                            guidance_start=self.controlnet_guidance_start, guidance_end=self.controlnet_guidance_end),)

    def files(self) -> dict[str, str]:
        """The options that name the pass's own checkpoint and VAE."""
        named = {"sd_model_checkpoint": self.checkpoint if self.use_checkpoint else SAME_CHECKPOINT,
                 "sd_vae": self.vae if self.use_vae else SAME_VAE}
        return {name: value for name, value in named.items() if value not in ("", SAME_CHECKPOINT, SAME_VAE)}


def prompts_of(text: str, own: str, count: int) -> list[str | None]:
    """The prompt of each of `count` finds, None for one that is skipped. `own` is the picture's prompt, which stands
    for an empty one; finds beyond the last prompt have that."""
    parts = [part.strip() for part in text.split(SEPARATOR)]
    prompts = [None if part.upper() == SKIP else part.replace(PROMPT, own) or own for part in parts]
    return [prompts[min(number, len(prompts) - 1)] for number in range(count)]
