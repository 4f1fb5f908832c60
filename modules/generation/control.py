"""Control units at work: their pictures become hints, and at each call of the network what their networks answer is
added to it. The arithmetic is that of sd-webui-controlnet 1.1.455."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from modules.annotate import registry
from modules.annotate.hint import Fit, Map, fitted, shown
from modules.annotate.preprocessor import Pixels, Preprocessor, Values
from modules.annotate.scale import pixel_perfect
from modules.annotate.source import mask_pixels, picture_of, rgb_pixels
from modules.errors import InvalidInput
from modules.generation import hires
from modules.imaging.mask import blur, crop_region, of_size
from modules.imaging.resize import resize
from modules.networks.control.layers import AtCall
from modules.networks.control.loading import WrongFamily
from modules.networks.control.network import ControlNetwork, EncoderInUse, IPAdapterNetwork, LLLiteNetwork, added
from modules.networks.control.reference import ATTENTION, STATISTICS, Reference
from modules.networks.control.union import kind_of
from modules.networks.image_encoder import Wanted
from modules.request import ControlMode, ControlUnit, HiresControl, Img2Img, Inpaint, ResizeMode, Txt2Img
from modules.request.control import ControlResize
from modules.sampling.conditioning import Conditioning
from modules.sampling.guidance import Wrapper
from modules.sampling.latent import Latent
from modules.sampling.levels import Level, stable_diffusion
from modules.sampling.types import Call, RowPredict, SDModel

Size = tuple[int, int]

AnyNetwork = ControlNetwork | IPAdapterNetwork | LLLiteNetwork
LoadControl = Callable[[ControlUnit, SDModel], AnyNetwork]
"""(unit, the model that it steers) -> the unit's network. Raises InvalidInput, NotFound, CheckpointError."""

FITS = {ControlResize.JUST_RESIZE: Fit.JUST_RESIZE, ControlResize.CROP_AND_RESIZE: Fit.CROP_AND_RESIZE,
        ControlResize.RESIZE_AND_FILL: Fit.RESIZE_AND_FILL}
RESIZE_MODES = {Fit.JUST_RESIZE: ResizeMode.JUST_RESIZE, Fit.CROP_AND_RESIZE: ResizeMode.CROP_AND_RESIZE,
                Fit.RESIZE_AND_FILL: ResizeMode.RESIZE_AND_FILL}

FADE = 0.825
"""With a mode that is not Balanced, the factor from one of a ControlNet's answers to the next finer one."""
ADAPTER_FADE = (0.25, 0.62, 0.825, 1.0)
"""The factors of an adapter's features then."""

WRITES = {"reference_only": (ATTENTION,), "reference_adain": (STATISTICS,),
          "reference_adain+attn": (ATTENTION, STATISTICS)}


Annotate = Callable[[Preprocessor, Pixels, Values], Pixels]
"""(preprocessor, picture (H, W, 3 or 4), its numbers) -> the map."""

FindEncoder = Callable[[Wanted, str, SDModel], EncoderInUse]
"""(what an image encoder has to give, the network that reads it, the model) -> the encoder. Raises InvalidInput."""


class Patch(Protocol):
    """What changes the UNet's layers during a call. `answers` is how many weights it takes."""

    answers: int

    def around(self, call: AtCall) -> AbstractContextManager[None]:
        """While this lasts they are changed."""


def _no_networks(unit: ControlUnit, model: SDModel) -> AnyNetwork:
    raise InvalidInput(f"There is no control network called {unit.model!r}.", field="model")


def _no_encoders(wanted: Wanted, reader: str, model: SDModel) -> EncoderInUse:
    raise InvalidInput(f"{reader} needs an image encoder, and there is none.", field="model")


def _plainly(preprocessor: Preprocessor, picture: Pixels, values: Values) -> Pixels:
    assert preprocessor.compute is not None
    return preprocessor.compute(picture, values)


@dataclass(frozen=True)
class ControlTools:
    """What carries units out: the loader of their networks, the preprocessors, and the image encoders."""

    load: LoadControl = _no_networks
    annotate: Annotate = _plainly
    encoder: FindEncoder = _no_encoders


NO_NETWORKS = ControlTools()
"""Without control networks and without preprocessors that are networks."""


@dataclass(frozen=True, eq=False)
class PreparedUnit:
    """A unit with its map, before that is brought to the size of a pass. `module` is the preprocessor's name; inside
    img2img's mask it is another one than the unit asks for. `pictures`, (H, W, 3) each, are shown to an image encoder;
    such a unit has no map to show. `further` are the maps beside the first that a union reads."""

    unit: ControlUnit
    module: str
    control_map: Map
    fit: Fit
    pictures: tuple[Pixels, ...] = ()
    further: tuple[Map, ...] = ()

    @property
    def has_mask(self) -> bool:
        """Whether the map has a fourth channel, the mask."""
        return bool(self.control_map.shape[2] == 4)

    @property
    def writes(self) -> tuple[str, ...]:
        """What a reference unit writes down; empty for others."""
        return WRITES.get(self.module, ())

    def hint(self, size: Size) -> Map:
        """The map at `size` (width, height), values 0 to 255."""
        return fitted(self.control_map, size, self.fit)

    def hints(self, size: Size) -> list[Map]:
        """All its maps at `size`, the first of them `hint`."""
        return [self.hint(size), *(fitted(one, size, self.fit) for one in self.further)]


class Control:
    """The units of one request."""

    def __init__(self, units: Sequence[PreparedUnit], request: Txt2Img, tools: ControlTools, latent: Latent) -> None:
        self._units, self._request, self._tools, self._latent = units, request, tools, latent
        self.notes: list[str] = []
        """What the person should be told of the passes that were made."""
        self.low = latent.whole((request.width, request.height))
        self.high = latent.whole(hires.hires_size(request).cut) if request.enable_hr else None

    @property
    def maps(self) -> tuple[Image.Image, ...]:
        """What the units follow, as pictures: of each unit that of the second pass, then that of the first."""
        if self._request.options.control_net_no_detectmap:
            return ()
        sizes = [size for size in (self.high, self.low) if size]
        units = [unit for unit in self._units if unit.unit.save_detected_map and not unit.pictures]
        return tuple(Image.fromarray(shown(hint)) for unit in units for size in sizes for hint in unit.hints(size))

    def wrapper(self, size: Size, seeds: Sequence[int], number: int) -> Wrapper:
        """What is put around the network in a pass of `size` (width, height) of batch `number`, for images with these
        `seeds`."""
        low, high = self.low, self.high
        size = self._latent.whole(size)
        second = high is not None and abs(size[1] - low[1]) >= abs(size[1] - high[1])
        units = [_Unit(unit, size, second) for unit in self._units]
        a_pass = _Pass(units, self._tools, self.notes, torch.Generator().manual_seed(seeds[-1]))
        # In WebUI the autoencoder draws from the generator of the references' noise: for what an inpainting checkpoint
        # is shown in txt2img, and for the units' latents, which are kept for the next batch.
        a_pass.draws = (0 if isinstance(self._request, Img2Img) or (high and size == high) else len(seeds),
                        number == 0 or bool(high or self._request.refiner_checkpoint))
        return Wrapper(a_pass.wrap, both=any(unit.writes for unit in self._units))

    def finish(self, pixels: Tensor) -> Tensor:
        """Decoded pictures (B, 3, H, W) in [0, 1] after what the units change in them at the end."""
        size = pixels.shape[3], pixels.shape[2]
        for unit in self._units:
            if unit.module == "inpaint_only":
                sigma = self._request.options.control_net_inpaint_blur_sigma
                pixels = _original_put_back(pixels, unit.hint(size), sigma)
            elif unit.module.startswith("recolor_"):
                pixels = torch.stack([_recoloured(one, unit.hint(size), unit.module) for one in pixels])
        return pixels


def prepare(model: SDModel, request: Txt2Img, tools: ControlTools) -> Control | None:
    """The control of a resolved `request`; None without units. Raises InvalidInput."""
    if not request.control_units:
        return None
    target = model.latent.whole((request.width, request.height))
    units = [_prepared(unit, request, target, tools.annotate) for unit in request.control_units]
    return Control(units, request, tools, model.latent)


# from a unit's picture to its map

def _prepared(unit: ControlUnit, request: Txt2Img, target: Size, annotate: Annotate) -> PreparedUnit:
    preprocessor = registry.find(unit.module)
    picture, fit = _source(unit, preprocessor, request)
    further = tuple(rgb_pixels(one) for one in unit.further_images)
    whole = preprocessor.name.startswith("reference") or (preprocessor.encoder is not None and unit.image is not None)
    if isinstance(request, Inpaint) and request.only_masked and unit.crop_input_image and not whole:
        picture, *rest = (_cropped(one, request, fit) for one in (picture, *further))
        further = tuple(rest)
    if preprocessor.encoder is not None:
        return PreparedUnit(unit, preprocessor.name, picture, fit, (picture, *further))
    resolution = unit.processor_res
    if unit.pixel_perfect:
        resolution = pixel_perfect((picture.shape[1], picture.shape[0]), target, fill=fit == Fit.RESIZE_AND_FILL)
    values = Values(int(resolution), unit.threshold_a, unit.threshold_b, _seed(unit, request))
    control_map: Map = annotate(preprocessor, picture, values)
    if preprocessor.takes_mask:
        control_map = control_map.astype(np.float32)
    module = preprocessor.name
    if module == "inpaint_only" and isinstance(request, Inpaint):
        module = "inpaint"
    return PreparedUnit(unit, module, control_map, fit, further=further)


def _seed(unit: ControlUnit, request: Txt2Img) -> int:
    return (2 * request.seed if unit.annotator_seed is None else unit.annotator_seed) & 0xFFFFFFFF


def _source(unit: ControlUnit, preprocessor: Preprocessor, request: Txt2Img) -> tuple[Pixels, Fit]:
    """The picture that the preprocessor works on, with its mask where it takes one, and how its map is fitted.

    Raises InvalidInput."""
    if unit.image is not None:
        mask = None if unit.mask is None else mask_pixels(unit.mask)
        if not preprocessor.takes_mask and (request.options.controlnet_ignore_noninpaint_mask
                                            or preprocessor.encoder is not None):
            mask = None
        return picture_of(rgb_pixels(unit.image), mask, takes_mask=preprocessor.takes_mask), FITS[unit.resize_mode]
    if not isinstance(request, Img2Img):
        raise InvalidInput("A ControlNet unit has no picture to follow.", field="image")
    image = request.init_images[0]
    mask = None
    if isinstance(request, Inpaint) and preprocessor.takes_mask:
        mask = np.asarray(of_size(_mask(request), image.size))[:, :, None]
    fit = Fit.JUST_RESIZE if request.resize_mode == ResizeMode.LATENT_UPSCALE else Fit(int(request.resize_mode))
    return picture_of(rgb_pixels(image), mask, takes_mask=preprocessor.takes_mask), fit


def _mask(request: Inpaint) -> Image.Image:
    """The request's mask as L, turned round if it is inverted, and blurred."""
    mask = request.mask.convert("L")
    return blur(ImageOps.invert(mask) if request.mask_invert else mask, request.mask_blur_x, request.mask_blur_y)


def _cropped(picture: Pixels, request: Inpaint, fit: Fit) -> Pixels:
    """The part of the picture that Only masked works on, each channel by itself, as the picture that is painted."""
    mask, size = _mask(request), (request.width, request.height)
    region = crop_region(mask, request.only_masked_padding, size, request.frame)
    if region is None:
        return picture
    channels = []
    for channel in range(picture.shape[2]):
        whole = resize(RESIZE_MODES[fit], Image.fromarray(np.ascontiguousarray(picture[:, :, channel])), mask.size)
        part = resize(ResizeMode.RESIZE_AND_FILL, whole.convert("L").crop(region.box), size)
        channels.append(np.asarray(part.convert("L")))
    return np.stack(channels, axis=2)


# at each call of the network

class _Unit:
    """A unit in one pass."""

    def __init__(self, unit: PreparedUnit, size: Size, second: bool) -> None:
        self.prepared, self.unit, self.second = unit, unit.unit, second
        hint, *self._further = (torch.from_numpy(np.ascontiguousarray(one.transpose(2, 0, 1)))[None].float() / 255
                                for one in unit.hints(size))
        self.colours, self.mask = hint[:, :3], (hint[:, 3:] > 0.5).float() if unit.has_mask else None
        self._region = _region(unit.unit)
        self._wrong_pass = (self.unit.hr_option == HiresControl.LOW and second) or (
            self.unit.hr_option == HiresControl.HIGH and not second)

    @property
    def module(self) -> str:
        return self.prepared.module

    @property
    def corrects(self) -> bool:
        """Whether it changes what the network answers."""
        return self.module in ("inpaint_only", "tile_colorfix", "tile_colorfix+sharp")

    @property
    def needs_latent(self) -> bool:
        """Whether it needs the unit's picture as a latent."""
        return self.corrects or bool(self.prepared.writes)

    @property
    def control_hint(self) -> Tensor:
        """What a control network reads, (1, 3, H, W): values 0 to 1, and -1 in the hole of a mask."""
        return self.colours if self.mask is None else self.colours * (1 - self.mask) - self.mask

    @property
    def control_hints(self) -> list[Tensor]:
        """All that it reads, where it reads several maps."""
        return [self.control_hint, *self._further]

    @property
    def soft(self) -> bool:
        """Whether the coarse answers count more than the fine ones."""
        sharp_lines = self.second and ("canny" in self.module or "mlsd" in self.module)
        return self.unit.control_mode != ControlMode.BALANCED or sharp_lines

    @property
    def fidelity(self) -> float:
        """How far the rows of the negative prompt are kept from the reference."""
        if self.unit.control_mode == ControlMode.CONTROL:
            return 1.0
        return 0.0 if self.soft or self.second else min(max(self.unit.threshold_a, 0.0), 1.0)

    def works(self, call: Call) -> bool:
        """Whether it takes part in this call."""
        return not self._wrong_pass and self.unit.guidance_start <= call.share <= self.unit.guidance_end

    def weighed(self, network: ControlNetwork, answer: list[Tensor], unguided: Sequence[int],
                rows: int) -> list[Tensor]:
        """A network's answer multiplied by the unit's weights."""
        pooled = "shuffle" in network.name.lower() and not network.is_adapter
        found = []
        for one, weight in zip(answer, self._weights(network), strict=True):
            one = one * weight
            if pooled:
                one = one.mean(dim=(2, 3), keepdim=True)
            if self._region is not None:
                one = one * F.interpolate(self._region.to(one), size=one.shape[2:], mode="bilinear")
            if unguided and (pooled or self.unit.control_mode == ControlMode.CONTROL):
                counts = one.new_ones(rows, 1, 1, 1)
                counts[list(unguided)] = 0
                one = one * counts
            found.append(one)
        return found

    def around(self, patch: Patch, x: Tensor, unguided: Sequence[int]) -> AbstractContextManager[None]:
        """What changes the UNet's layers while it is asked about x (B, C, h, w)."""
        region = None if self._region is None else self._region.to(x.device)
        weights = self.flat_weights(patch.answers)
        return patch.around(AtCall(len(x), (x.shape[3], x.shape[2]), unguided, weights, region))

    def flat_weights(self, count: int) -> Sequence[float]:
        """The unit's weights for a network that takes `count`, the same for all unless they are given. Raises
        InvalidInput."""
        given = self.unit.advanced_weighting
        if given is None:
            return [self.unit.weight] * count
        if len(given) != count:
            raise InvalidInput(f"advanced_weighting has {len(given)} numbers; {self.unit.model} takes {count}.",
                               field="advanced_weighting")
        return given

    def _weights(self, network: ControlNetwork) -> Sequence[float]:
        count = network.answers
        if self.unit.advanced_weighting is not None or not self.soft:
            return self.flat_weights(count)
        factors = ADAPTER_FADE if network.is_adapter else [FADE ** (12 - i) for i in range(count)]
        return [self.unit.weight * factor for factor in factors]


def _region(unit: ControlUnit) -> Tensor | None:
    """The region mask, (1, 1, H, W) in [0, 1]."""
    mask = unit.effective_region_mask
    return None if mask is None else torch.from_numpy(mask_pixels(mask)[None, None, :, :, 0]).float() / 255


class _Pass:
    """The units around the network in one run of a sampler."""

    def __init__(self, units: Sequence[_Unit], tools: ControlTools, notes: list[str], noise: torch.Generator) -> None:
        """`noise` draws the noise of references; `notes` takes what the person should be told."""
        self._units, self._tools, self._notes, self._noise = units, tools, notes, noise
        self.draws = 0, True
        """How often the autoencoder has drawn before for what an inpainting checkpoint is shown, and whether it draws
        for the units' latents."""
        self._models = 0
        self._alphas = stable_diffusion().alphas_cumprod

    def wrap(self, predict: RowPredict, model: SDModel) -> RowPredict:
        """`predict`, which asks `model`, with the units around it."""
        self._models += 1
        marked = self._models == 1  # as in the extension, a refiner does not know which rows are the negative prompt's
        if not hasattr(model.unet, "down_blocks"):
            raise InvalidInput(f"Control units steer a UNet, and {model.name} has none.", field="model")
        networks, patches = self._networks(model)
        kinds = {unit: kinds_of_maps(unit.unit, network) for unit, network in networks.items()}
        references = [unit for unit in self._units if unit.prepared.writes]
        latents = {unit: _latent(model, unit) for unit in self._units if unit.needs_latent}
        masked = [unit for unit in self._units if unit.mask is not None]
        shown = _shown(model, masked[-1]) if masked and model.inputs.name == "inpaint" else None
        reference = Reference(model.unet) if references else None
        channels = model.latent.channels
        if reference and marked:
            shown_draws = self.draws[0] if model.inputs.name == "inpaint" else 0
            for latent in [latents[references[0]]] * shown_draws + (list(latents.values()) if self.draws[1] else []):
                torch.randn(latent.shape, generator=self._noise)

        def ask(x: Tensor, level: Level, cond: Conditioning, call: Call) -> Tensor:
            with ExitStack() as stack:
                for unit, patch in patches.items():
                    if unit.works(call):
                        stack.enter_context(unit.around(patch, x, call.unguided))
                return answer(x, level, cond, call)

        def answer(x: Tensor, level: Level, cond: Conditioning, call: Call) -> Tensor:
            unguided = call.unguided if marked else []
            working = [unit for unit in self._units if unit.works(call)]
            residuals = added([
                (networks[unit], unit.weighed(networks[unit], networks[unit].ask(x, level, cond, unit.control_hints,
                                                                                  kinds[unit]), unguided, len(x)))
                for unit in working if unit in networks and _has_weight(unit.unit)])
            told = cond if residuals is None else replace(cond, residuals=residuals)
            if shown is not None:
                x = torch.cat([x[:, :channels], shown.to(x).expand(len(x), -1, -1, -1)], dim=1)
            writing = [unit for unit in working if unit.prepared.writes]
            if reference is None or not writing:
                out = predict(x, level, told, call)
            else:
                for unit in writing:
                    ref = self._noised(latents[unit], level, len(x), channels)
                    if x.shape[1] > channels:
                        ref = torch.cat([ref, torch.zeros_like(x[:, channels : -channels]),
                                         latents[unit].to(x).expand(len(x), -1, -1, -1)], dim=1)
                    fidelity = unit.fidelity**3 if model.unet.config.projection_class_embeddings_input_dim else \
                        unit.fidelity
                    with reference.writing(unit.prepared.writes, unit.unit.weight, fidelity, unguided):
                        predict(ref.to(x), level, cond, call)
                with reference.reading(unguided):
                    out = predict(x, level, told, call)
            for unit in self._units:
                if unit.corrects:
                    out = self._corrected(unit, latents[unit], x[:, :channels], out, level, unguided)
            return out

        return ask

    def _networks(self, model: SDModel) -> tuple[dict[_Unit, ControlNetwork], dict[_Unit, Patch]]:
        """The networks whose answers are added inside `model`'s UNet, and those that change its layers. Those that are
        not for a refiner are left out there."""
        networks: dict[_Unit, ControlNetwork] = {}
        patches: dict[_Unit, Patch] = {}
        for unit in self._units:
            preprocessor = registry.find(unit.unit.module)
            if preprocessor.model_free:
                continue
            try:
                network = self._tools.load(unit.unit, model)
            except WrongFamily:
                if self._models == 1:
                    raise
                note = f"{model.name} went on without {unit.unit.model}, which is for another family of checkpoints."
                self._notes += [] if note in self._notes else [note]
                continue
            reads_pictures = isinstance(network, IPAdapterNetwork)
            if reads_pictures != (preprocessor.encoder is not None):
                raise InvalidInput(
                    f"{network.name} is an IP-Adapter: choose the preprocessor ip-adapter-auto." if reads_pictures else
                    f"{network.name} is no IP-Adapter: choose another preprocessor than {preprocessor.title}.",
                    field="module")
            reads_several = reads_pictures or (isinstance(network, ControlNetwork) and network.kinds)
            if unit.unit.further_images and not reads_several:
                raise InvalidInput(f"{network.name} reads one map; give each of the others a unit of its own.",
                                   field="image")
            if isinstance(network, ControlNetwork):
                networks[unit] = network
            elif not _has_weight(unit.unit):
                continue
            elif isinstance(network, LLLiteNetwork):
                patches[unit] = network.patch(unit.control_hint, model.unet)
            else:
                encoder = self._tools.encoder(network.wanted(preprocessor.encoder or 0), network.name, model)
                patches[unit] = network.prompt(unit.prepared.pictures, model.unet, encoder)
        return networks, patches

    def _alpha(self, level: Level) -> float:
        """alpha-bar of the nearest trained timestep."""
        return float(self._alphas[min(max(round(level.t), 0), len(self._alphas) - 1)])

    def _noised(self, latent: Tensor, level: Level, rows: int, channels: int) -> Tensor:
        """A reference's latent (1, C, h, w) noised to `level`, in so many rows with noise of their own."""
        noise = torch.randn((rows, channels, *latent.shape[2:]), generator=self._noise).to(latent)
        alpha = self._alpha(level)
        return torch.add(alpha**0.5 * latent, (1 - alpha) ** 0.5 * noise)

    def _corrected(self, unit: _Unit, latent: Tensor, x: Tensor, out: Tensor, level: Level,
                   unguided: Sequence[int]) -> Tensor:
        """The network's answer, taken as eps, after its x0 was brought towards the unit's picture."""
        alpha = self._alpha(level)
        per_x, per_out = (1 / alpha) ** 0.5, (1 / alpha - 1) ** 0.5
        x0 = per_x * x - per_out * out
        if unit.mask is not None:
            hole = F.max_pool2d(unit.mask, 10, stride=8, padding=1).to(x0)
            x0 = x0 * hole + latent.to(x0) * (1 - hole)
        else:
            reach = int(unit.unit.threshold_a) * (2 if unit.second else 1)
            x0 = x0 - _smooth(x0, reach) + _smooth(latent.to(x0), reach)
            if unit.module.endswith("+sharp") and unguided:
                share, rows = unit.unit.threshold_b * 0.01, list(unguided)
                x0[rows] = share * _smooth(x0[rows], reach) + (1 - share) * x0[rows]
        weight = min(max(unit.unit.weight, 0.0), 1.0)
        return torch.add(weight * ((per_x * x - x0) / per_out), (1 - weight) * out)


def kinds_of_maps(unit: ControlUnit, network: ControlNetwork) -> list[int]:
    """The number of the kind of each of the unit's maps for `network`. Raises InvalidInput where it needs one and does
    not have it."""
    count = 1 + len(unit.further_images)
    if not network.kinds:
        return [0]
    if count == 1:
        return [_kind_of_map(unit, network)]
    names = unit.control_type.split(",")
    if len(names) != count:
        raise InvalidInput(f"A unit with {count} maps names the Control Type of each of them, separated by commas.",
                           field="union_control_type")
    return [_kind_of_map(replace(unit, control_type=name), network) for name in names]


def _kind_of_map(unit: ControlUnit, network: ControlNetwork) -> int:
    types = (unit.control_type, *(() if unit.module == "none" else registry.find(unit.module).types))
    kind = next((found for found in map(kind_of, types) if found is not None), None)
    if kind is None:
        raise InvalidInput(f"{network.name} knows several kinds of maps: choose a Control Type, or a preprocessor that "
                           "makes one of them.", field="union_control_type")
    if kind >= network.kinds:
        raise InvalidInput(f"{network.name} does not know maps of this Control Type.", field="union_control_type")
    return kind


def _has_weight(unit: ControlUnit) -> bool:
    return bool(unit.weight) or unit.advanced_weighting is not None


def _latent(model: SDModel, unit: _Unit) -> Tensor:
    """The unit's picture as a latent, (1, C, h, w)."""
    return model.encode_image((2 * unit.colours - 1).to(model.device))


def _shown(model: SDModel, unit: _Unit) -> Tensor:
    """What an inpainting checkpoint is shown of a unit's masked picture: its mask and its latent, (1, 5, h, w)."""
    assert unit.mask is not None
    latent = model.encode_image(((2 * unit.colours - 1) * (1 - unit.mask)).to(model.device))
    return torch.cat([F.max_pool2d(unit.mask, 8).to(latent), latent], dim=1)


def _smooth(x: Tensor, reach: int) -> Tensor:
    """The mean of x (B, C, h, w) over squares of `reach` cells to each side."""
    return F.avg_pool2d(F.pad(x, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)


# after decoding

def _original_put_back(pixels: Tensor, hint: Map, sigma: int) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] with the hint's colours outside of its mask, whose edge is softened."""
    values = hint.astype(np.float32) / 255
    mask = np.where(values[:, :, 3] > 0.5, 1.0, 0.0).astype(np.float32)
    if sigma > 0:
        mask = np.asarray(cv2.blur(cv2.dilate(mask, np.ones((sigma, sigma), np.uint8)), (sigma, sigma)))
    paint = torch.from_numpy(mask)[None, None].to(pixels)
    raw = torch.from_numpy(np.ascontiguousarray(values[:, :, :3].transpose(2, 0, 1)))[None].to(pixels)
    both: Tensor = paint * pixels.clamp(0, 1) + (1 - paint) * raw
    return both.clamp(0, 1)  # enlarging the hint overshoots


def _recoloured(picture: Tensor, hint: Map, module: str) -> Tensor:
    """A picture (3, H, W) in [0, 1] with the lightness, or the value, of the hint."""
    to, back, channel = (cv2.COLOR_RGB2LAB, cv2.COLOR_LAB2RGB, 0) if module == "recolor_luminance" else (
        cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB, 2)
    levels = np.ascontiguousarray(picture.clamp(0, 1).mul(255).permute(1, 2, 0).to(torch.uint8).cpu().numpy())
    converted = np.asarray(cv2.cvtColor(levels, to)).copy()
    converted[:, :, channel] = hint[:, :, 0]
    made = np.asarray(cv2.cvtColor(converted, back), dtype=np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(made.transpose(2, 0, 1))).to(picture)
