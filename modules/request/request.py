"""What a person can ask for: three flat, frozen values that the page, the HTTP API, the command line and tests share.

Field names are WebUI's where it has one. Sizes are in pixels. A change is `dataclasses.replace`. Values are checked
when the object is made; limits that depend on the machine (largest size, most steps) are checked by `modules.settings`.

Each field is declared by `modules.request.fields.field`. A new plain field (a flag, a number or a text) needs its line
here and the code that obeys it, and nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from modules.errors import InvalidInput
from modules.request.control import ControlUnit
from modules.request.detail import DetailPass
from modules.request.fields import check_ranges, declared, field
from modules.request.options import Options
from modules.request.photograph import Photograph

MAX_SEED = 2**64 - 1
"""What PyTorch's generators and philox take."""
RANDOM_SEEDS = 2**32
"""A random seed is below this, as WebUI's are, and short enough to be written down."""


def seed_after(seed: int, count: int) -> int:
    """Return the seed `count` places after `seed`; after `MAX_SEED` comes 0."""
    return (seed + count) % (MAX_SEED + 1)


class ResizeMode(IntEnum):
    """How a picture is fitted to the request's size (WebUI's numbers)."""

    JUST_RESIZE = 0
    CROP_AND_RESIZE = 1
    RESIZE_AND_FILL = 2
    LATENT_UPSCALE = 3


class MaskedContent(IntEnum):
    """What the painted part holds before sampling begins (WebUI's `inpainting_fill`)."""

    FILL = 0
    ORIGINAL = 1
    LATENT_NOISE = 2
    LATENT_NOTHING = 3
    SURROUNDINGS = 4
    """What Remove makes of it; ours."""

    @property
    def label(self) -> str:
        """WebUI's words for it: "latent noise"."""
        return self.name.lower().replace("_", " ")


MASKED_CONTENT = {content.label: content for content in MaskedContent}
"""Each by its label."""


@dataclass(frozen=True)
class ScriptCall:
    """A script by its title, and the values of its inputs in their order."""

    title: str
    arguments: tuple[Any, ...] = ()


TXT2IMG = ("txt2img",)
FRAME = re.compile(r"(\d{1,6})x(\d{1,6})\+(\d{1,6})\+(\d{1,6})", re.ASCII)
"""A box in a picture: width, height, left, top."""


def read_box(text: str) -> tuple[int, int, int, int] | None:
    """The box (left, top, right, bottom) in a text like 612x512+40+20. None if it is none, or an empty one."""
    found = FRAME.fullmatch(text.strip())
    width, height, left, top = map(int, found.groups()) if found else (0, 0, 0, 0)
    return (left, top, left + width, top + height) if width and height else None


@dataclass(frozen=True, kw_only=True)
class Txt2Img:
    """A picture from a prompt. `seed` -1 means a random one, drawn when the job starts. `eta` None takes the option's.

    `enable_hr` adds a second pass on the enlarged result (hires fix): `denoising_strength` is that pass's; 0 steps and
    empty names take the first pass's; a resize of 0 x 0 takes the scale. A refiner takes over sampling at
    `refiner_switch_at` of the way down the noise levels, or at once if that is None. `first_pass` takes the place of
    the first pass before hires fix. `disable_extra_networks` leaves the prompt's tags without effect. `record_steps`
    writes each run of the sampler to a file of the job (`generation.recording`). `go_on_after` and the fields `then_`
    change a run on its way (`request.going_on`); `replayed` is a recording of it, whose answers are not computed again.
    A `script` carries the request out in its own way. `always_on` are the extensions' controls that are switched on,
    with their values.
    `control_units` are pictures that the result follows. `detail` are the detailer's passes over the finished picture.
    """

    tab: ClassVar[str] = "txt2img"
    """The page's tab that makes such requests. Extensions name it."""

    prompt: str = field(
        "", "Prompt",
        "What the picture should show, in plain words or in a list. (word:1.2) weighs a word more, (word:0.8) "
        "less.", text="Prompt", cli="--prompt")
    negative_prompt: str = field(
        "", "Negative prompt",
        "What the picture should not show. Use it for what keeps coming back, such as blurry or text.",
        text="Negative prompt", cli="--negative-prompt")
    sampler: str = field(
        "DDIM", "Sampling method",
        "The method that turns noise into a picture. DDIM and DPM++ 2M are safe choices; those with an a in "
        "their name vary more.", text="Sampler", api="sampler_name", cli="--sampler")
    scheduler: str = field(
        "Automatic", "Schedule type",
        "How the steps are spread over the noise levels. Automatic takes the one that suits the sampler; Karras "
        "often needs fewer steps.", text="Schedule type", cli="--scheduler")
    steps: int = field(
        20, "Sampling steps",
        "How often the picture is refined. 20 to 30 are usually enough; more cost time and change little.", low=1,
        shown=(1, 150), text="Steps", cli="--steps", axis="Steps")
    cfg_scale: float = field(
        7.0, "CFG Scale",
        "How closely the picture follows the prompt. 7 is usual; more gets harsh colours, less more freedom.",
        low=-1000.0, high=1000.0, shown=(1, 30), step=0.5, text="CFG scale", cli="--cfg-scale", axis="CFG Scale")
    seed: int = field(
        -1, "Seed",
        "The number that the noise is drawn from. The same seed and settings make the same picture; -1 draws a "
        "new one.", low=-1, high=MAX_SEED, text="Seed", cli="--seed", axis="Seed")
    width: int = field(
        512, "Width", "The width of the picture in pixels. Stay near the size that the checkpoint was trained on.",
        low=1, shown=(64, math.inf), limit="max_size", step=8, text="Size-1", cli="--width")
    height: int = field(
        512, "Height", "The height of the picture in pixels. Stay near the size that the checkpoint was trained on.",
        low=1, shown=(64, math.inf), limit="max_size", step=8, text="Size-2", cli="--height")
    subseed: int = field(
        -1, "Variation seed", "The seed that the variation strength leads to. -1 draws a new one for each picture.",
        low=-1, high=MAX_SEED, text="Variation seed", axis="Var. seed")
    subseed_strength: float = field(
        0.0, "Variation strength",
        "How far the noise goes from the seed to the variation seed. 0.05 to 0.2 make variations of a picture "
        "that you like.", low=0.0, high=1.0, text="Variation seed strength", axis="Var. strength")
    seed_resize_from_w: int = field(
        0, "Resize seed from width",
        "The width of a picture whose layout should stay when the size changes. 0 switches this off.", low=0,
        limit="max_size", step=8, text="Seed resize from-1")
    seed_resize_from_h: int = field(
        0, "Resize seed from height",
        "The height of a picture whose layout should stay when the size changes. 0 switches this off.", low=0,
        limit="max_size", step=8, text="Seed resize from-2")
    batch_size: int = field(
        1, "Batch size", "How many pictures are made at the same time. More need more memory.", low=1, shown=(1, 8),
        limit="max_batch", cli="--batch-size")
    n_iter: int = field(
        1, "Batch count", "How many batches are made one after another. It needs no more memory than one.", low=1,
        limit="max_count", cli="--count")
    eta: float | None = field(
        None, "Eta", "The noise that is added at each step. 0 adds none.", low=0.0, high=1.0, cli="--eta", axis="Eta")
    denoising_strength: float = field(
        0.75, "Denoising strength",
        "How much may change. 0.4 keeps shapes, 0.75 replaces them, 1 ignores what was there.", low=0.0, high=1.0,
        text="Denoising strength", cli="--strength", axis="Denoising")
    enable_hr: bool = field(
        False, "Hires. fix",
        "Makes the picture at the size above, then enlarges it and refines it. Use it for pictures larger than "
        "the checkpoint's size.", tabs=TXT2IMG)
    hr_scale: float = field(
        2.0, "Upscale by", "By how much the picture is enlarged. 2 makes 512 x 512 into 1024 x 1024.", low=0.01,
        high=16.0, shown=(1, 4), step=0.05, text="Hires upscale", tabs=TXT2IMG)
    hr_upscaler: str = field(
        "Latent", "Upscaler",
        "What enlarges the picture before the second pass. Latent needs a strength of 0.5 or more; the others "
        "work with less.", text="Hires upscaler", axis="Hires upscaler", tabs=TXT2IMG)
    hr_second_pass_steps: int = field(
        0, "Hires steps", "The steps of the second pass. 0 takes as many as the first.", low=0, shown=(0, 150),
        text="Hires steps", axis="Hires steps", tabs=TXT2IMG)
    hr_resize_x: int = field(
        0, "Resize width to", "The width of the enlarged picture instead of a factor. 0 takes the factor.", low=0,
        limit="max_size", step=8, text="Hires resize-1", tabs=TXT2IMG)
    hr_resize_y: int = field(
        0, "Resize height to", "The height of the enlarged picture instead of a factor. 0 takes the factor.", low=0,
        limit="max_size", step=8, text="Hires resize-2", tabs=TXT2IMG)
    hr_sampler: str = field(
        "", "Hires sampling method",
        "The sampler of the second pass. Change it where the first pass's makes noise or blur.", text="Hires sampler",
        api="hr_sampler_name", tabs=TXT2IMG)
    hr_scheduler: str = field(
        "", "Hires schedule type", "The schedule of the second pass. Change it together with its sampler.",
        text="Hires schedule type", tabs=TXT2IMG)
    hr_prompt: str = field(
        "", "Hires prompt", "The prompt of the second pass. Leave it empty to use the first one's.",
        text="Hires prompt", tabs=TXT2IMG)
    hr_negative_prompt: str = field(
        "", "Hires negative prompt", "The negative prompt of the second pass. Leave it empty to use the first one's.",
        text="Hires negative prompt", tabs=TXT2IMG)
    hr_checkpoint: str = field(
        "", "Hires checkpoint",
        "The checkpoint of the second pass. Another one can add details that the first does not know.",
        text="Hires checkpoint", api="hr_checkpoint_name", tabs=TXT2IMG)
    refiner_checkpoint: str = field(
        "", "Refiner checkpoint",
        "The checkpoint that takes over during sampling. Choose one that draws finer details.", text="Refiner")
    refiner_switch_at: float | None = field(
        None, "Switch at", "When the refiner takes over. 0.8 leaves it the last fifth; less leaves it more.", low=0.0,
        high=1.0, shown=(0.01, 1), text="Refiner switch at", axis="Refiner switch at")
    disable_extra_networks: bool = field(
        False, "Disable extra networks",
        "Leaves out the LoRAs and hypernetworks that the prompts name. The tags are not read as words either.")
    record_steps: bool = field(
        False, "Record steps",
        "Keeps what happens at each step, so that you can look inside afterwards. It costs a little time and disk.",
        cli="--record-steps", advanced=True)
    go_on_after: int = field(
        0, "Go on after",
        "So many calls of the network are as without the fields below, which hold for the rest. 0 leaves them without "
        "effect.", low=0, shown=(0, 300), text="Go on after")
    then_prompt: str = field(
        "", "Then prompt", "The prompt of the rest. Empty keeps the one above.", text="Then prompt")
    then_negative_prompt: str = field(
        "", "Then negative prompt", "The negative prompt of the rest. Empty keeps the one above.",
        text="Then negative prompt")
    then_cfg_scale: float = field(
        0.0, "Then CFG Scale", "The CFG scale of the rest. 0 keeps the one above.", low=-1000.0, high=1000.0,
        shown=(0, 30), step=0.5, text="Then CFG scale")
    then_sampler: str = field(
        "", "Then sampling method",
        "The sampler of the rest, also with a schedule, such as DPM++ 2M Karras. It begins again from the guess of the "
        "finished picture.", text="Then sampler")
    then_seed: int = field(
        -1, "Then seed", "The rest begins again from the guess with noise of this seed. -1 keeps the noise.", low=-1,
        high=MAX_SEED, text="Then seed")
    then_strength: float = field(
        0.0, "Then denoising strength",
        "The rest begins again from the guess, noised to this strength. 0 stays at the noise level of the moment.",
        low=0.0, high=1.0, text="Then denoising strength")
    first_pass: Image.Image | None = None
    replayed: Path | None = None
    script: ScriptCall | None = None
    always_on: tuple[ScriptCall, ...] = ()
    control_units: tuple[ControlUnit, ...] = ()
    detail: tuple[DetailPass, ...] = ()
    options: Options = dataclasses.field(default_factory=Options)

    def __post_init__(self) -> None:
        check_ranges(self, unused=self._unused())

    def _unused(self) -> set[str]:
        """The numbers that change nothing in this request, so that they may have any value."""
        unused = set() if self.enable_hr else {"denoising_strength", "hr_scale", "hr_second_pass_steps", "hr_resize_x",
                                               "hr_resize_y"}
        return unused if self.refiner_checkpoint else unused | {"refiner_switch_at"}


@dataclass(frozen=True, kw_only=True)
class Img2Img(Txt2Img):
    """A picture from a picture. Several `init_images` make one result each and set the batch size.

    `denoising_strength` 0 keeps the picture, 1 forgets it. `initial_noise_multiplier` None takes the option's.
    `image_cfg_scale` concerns checkpoints that edit a picture (InstructPix2Pix); None is the same as 1. `depth_map` is
    for depth checkpoints: how near things are in the picture, bright is near; None asks the depth network.
    """

    tab: ClassVar[str] = "img2img"

    init_images: tuple[Image.Image, ...] = ()
    depth_map: Image.Image | None = None
    resize_mode: ResizeMode = field(
        ResizeMode.JUST_RESIZE, "Resize mode",
        "How the picture is brought to the size asked for. Just resize stretches it; Crop and resize and the page's "
        "Keep proportions do not.")
    initial_noise_multiplier: float | None = field(
        None, "Noise multiplier", "Multiplies the noise that the picture starts with. Below 1 gives calmer results.",
        low=0.0, high=10.0, text="Noise multiplier", axis="Initial noise multiplier")
    image_cfg_scale: float | None = field(
        None, "Image CFG Scale",
        "How closely the result follows the picture. 1.5 is usual; raise it where too much changes.", low=-1000.0,
        high=1000.0, shown=(0, 3), step=0.05, text="Image CFG scale", cli="--image-cfg-scale", axis="Image CFG Scale")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.init_images:
            raise InvalidInput("There is no picture to start from.", field="init_images")

    def _unused(self) -> set[str]:
        return super()._unused() - {"denoising_strength"}


@dataclass(frozen=True, kw_only=True)
class SoftInpainting:
    """How soft inpainting weighs kept against painted (WebUI's extension of that name, and its defaults).

    `power`, `scale` and `detail` concern the latent, `influence`, `threshold` and `contrast` the pixels of the result.
    """

    power: float = field(
        1, "Schedule bias",
        "When the original is kept most: above 1 in the early steps, below 1 in the late ones. 1 is even.",
        low=0, high=100, shown=(0, 8), step=0.1)
    scale: float = field(
        0.5, "Preservation strength",
        "How strongly the softly painted parts keep the original. Lower it for a freer transition.", low=0, high=100,
        shown=(0, 8), step=0.05)
    detail: float = field(
        4, "Transition contrast boost", "How much contrast the transition keeps. Raise it where the seam looks grey.",
        low=0, high=100, shown=(1, 32), step=0.5)
    influence: float = field(
        0, "Mask influence", "How much the painted mask decides the final blend. 0 lets only real changes decide.",
        low=0, high=100, shown=(0, 1), step=0.05)
    threshold: float = field(
        0.5, "Difference threshold",
        "How much a pixel must change to be taken from the result. Raise it to keep more of the original.", low=0,
        high=100, shown=(0, 8), step=0.25)
    contrast: float = field(
        2, "Difference contrast",
        "How sharply changed and unchanged pixels are told apart. Raise it for a harder edge.", low=0, high=100,
        shown=(0, 8), step=0.25)

    def __post_init__(self) -> None:
        for item in declared(SoftInpainting):
            value = getattr(self, item.name)
            if not 0 <= value <= 100:  # NaN fails both comparisons
                raise InvalidInput(f"Soft inpainting's {item.name} lies between 0 and 100, not {value}.",
                                   field="alwayson_scripts")
        if self.detail == 0:
            raise InvalidInput("Soft inpainting's detail must be more than 0.", field="alwayson_scripts")


SOFT_LABELS = {item.name: item.label for item in declared(SoftInpainting)}
"""WebUI's labels of the fields of `SoftInpainting`, in their order."""


@dataclass(frozen=True, kw_only=True)
class Inpaint(Img2Img):
    """Img2Img where only the white part of `mask` is made anew. White (255) means paint, everywhere.

    `mask_blur_x` and `mask_blur_y` are Gaussian sigmas in pixels. `mask_round` makes the latent mask hard.
    `only_masked` works on the mask's surroundings (plus `only_masked_padding` pixels) at full resolution.
    `each_spot` does so with each part of the mask that does not touch the others; each has the next seed, and a line of
    the prompt that begins with "spot 2:" is only for the second from the top.
    `only_masked_frame` names the surroundings by hand: "612x512+40+20" is a box of 612 x 512 pixels whose upper left
    corner is at (40, 20). It is extended where the mask lies outside it.
    `patch_fit` is how far the painted part gets the look of its surroundings (`modules.imaging.grain`).
    `soft` blends by noise level and by what really changed; it makes the mask soft whatever `mask_round` says.
    `latent_mask` is what is sampled anew where that differs from what is pasted back; it is never blurred.
    `then_mask` takes the place of `mask` after `go_on_after` calls.
    `photographs` are the files of the init images, whose depth, profile and metadata the results keep.
    """

    tab: ClassVar[str] = "inpaint"

    mask: Image.Image
    mask_invert: bool = field(
        False, "Mask mode",
        "Whether the painted part is made anew, or everything else. Invert it to keep an object and change its "
        "surroundings.", api="inpainting_mask_invert", cli="--invert")
    mask_blur_x: int = field(
        4, "Mask blur", "By how many pixels the mask's edge is softened. 4 hides seams; 0 keeps the edge hard.", low=0,
        high=512, shown=(0, 64), cli="--mask-blur")
    mask_blur_y: int = field(
        4, "Mask blur",
        "By how many pixels the mask's edge is softened from top to bottom. 4 hides seams; 0 keeps the edge hard.",
        low=0, high=512, shown=(0, 64))
    mask_round: bool = field(
        True, "Round the mask to whole latent pixels",
        "Samples a latent pixel (8 x 8 pixels) wholly or not at all. Switch it off for gradual masks.", advanced=True)
    masked_content: MaskedContent = field(
        MaskedContent.ORIGINAL, "Masked content",
        "What the painted part holds before sampling. original changes what is there; fill or latent noise make "
        "something new; surroundings removes it first.", api="inpainting_fill", cli="--content")
    only_masked: bool = field(
        False, "Inpaint area",
        "Whether the sampler sees the whole picture, or only the mask's surroundings enlarged to the size asked "
        "for. Choose the second for small details; the page's Automatic chooses it for large pictures.",
        api="inpaint_full_res", cli="--only-masked")
    only_masked_padding: int = field(
        32, "Only masked padding, pixels",
        "How many pixels around the mask the sampler sees. Raise it where the result does not fit its "
        "surroundings.", low=0, high=4096, shown=(0, 256), step=4, text="Masked area padding",
        api="inpaint_full_res_padding", cli="--padding", axis="Only masked padding, pixels")
    only_masked_frame: str = field(
        "", "Only masked frame",
        "The surroundings that the sampler sees, as a box like 612x512+40+20, instead of the padding. Set it where the "
        "sampler should see more on one side.", text="Masked area frame", api="inpaint_full_res_frame", cli="--frame")
    each_spot: bool = field(
        False, "Each spot by itself",
        "Works on the parts of the mask that do not touch one after another, each with its own surroundings. Choose it "
        "for small spots far apart.", text="Each spot", api="inpaint_each_spot", cli="--each-spot")
    patch_fit: float = field(
        0.0, "Fit to the photograph",
        "How far grain, sharpness and colour of the painted part are brought to those around it, with Only masked. 1 "
        "hides a patch in a photograph; use 0 for drawings.", low=0.0, high=1.0, shown=(0, 1), step=0.05,
        text="Patch fit", api="inpaint_patch_fit", cli="--patch-fit")
    soft: SoftInpainting | None = None
    latent_mask: Image.Image | None = None
    then_mask: Image.Image | None = None
    photographs: tuple[Photograph, ...] = ()

    def photograph(self, k: int) -> Photograph | None:
        """The photograph of the init image of result `k` of a batch. None if there is none, or a script or an extension
        has replaced that image."""
        image = self.init_images[k % len(self.init_images)]
        return next((one for one in self.photographs if one.image is image), None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.frame  # noqa: B018  (raises for a text that is no box)

    @property
    def frame(self) -> tuple[int, int, int, int] | None:
        """`only_masked_frame` as (left, top, right, bottom). None if it is empty. Raises InvalidInput."""
        if not self.only_masked_frame:
            return None
        if box := read_box(self.only_masked_frame):
            return box
        raise InvalidInput("only_masked_frame must be a box like 612x512+40+20 (width x height + left + top), not "
                           f"{self.only_masked_frame[:80]!r}.", field="only_masked_frame")

    @property
    def misplaced(self) -> bool:
        """WebUI 1.10 pastes a misplaced overlay after a latent upscale. True if that must be reproduced.

        Its `StableDiffusionProcessingImg2Img.init` stretches the latent, but its `resize_image` takes an unknown mode
        for resize and fill, so the mask is fitted in. The overlay is cut from the picture in its own size.
        """
        return (self.resize_mode == ResizeMode.LATENT_UPSCALE and not self.only_masked
                and self.options.ddim_loop == "webui-1.10")


REQUESTS: dict[str, type[Txt2Img]] = {kind.tab: kind for kind in (Txt2Img, Img2Img, Inpaint)}
"""The class of the requests that each tab makes."""
