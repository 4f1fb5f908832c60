"""Pictures and their captions in folders, and the sizes that they are trained in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from modules.errors import InvalidInput
from modules.imaging.modes import to_rgb
from modules.imaging.resize import Box
from modules.request.request import read_box
from modules.training.config import Dataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CAPTIONS = (".txt", ".caption")
MASKS, CROPS = "masks", "crops"
"""The sub-folders with the masks and the crops of pictures. White in a mask is learned, black is not, as kohya's
scripts want it in their `conditioning_data_dir`."""
LONGEST = 20_000
"""Characters of a caption that are read."""
MOST_RATIO = 2.5
"""A picture longer than that is cut."""

Size = tuple[int, int]
_KOHYA = re.compile(r"(\d{1,4})_(.+)")


@dataclass(frozen=True)
class Example:
    """A picture's file, what it shows behind the trigger word, how often it counts, the file of its mask, and what of
    it is trained: the box (left, top, right, bottom) in its pixels, None for all.

    `regular`: it shows what is to stay as it is.
    """

    path: Path
    text: str
    repeats: int = 1
    trigger: str = ""
    mask: Path | None = None
    regular: bool = False
    crop: Box | None = None

    @property
    def caption(self) -> str:
        """The trigger word and the text."""
        return ", ".join(part for part in (self.trigger, self.text) if part)


def examples(datasets: Sequence[Dataset]) -> list[Example]:
    """The pictures in all folders, in the order of their names. Raises InvalidInput for a folder without pictures, for
    a picture without words, and where all is regularisation."""
    found = [example for dataset in datasets for example in _in_folder(dataset)]
    for example in found:
        if not example.caption:
            raise InvalidInput(f"{example.path.name} has no caption: write what it shows into "
                               f"{example.path.stem}.txt beside it, or give its dataset a trigger.")
    if all(example.regular for example in found):
        raise InvalidInput("All pictures are regularisation: there is nothing new to learn.", field="regular")
    return found


def _in_folder(dataset: Dataset) -> Iterator[Example]:
    folder, count = Path(dataset.folder), 0
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}.", field="folder")
    places = [(folder, dataset.repeats, "")]
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if kohya := _KOHYA.fullmatch(below.name):
            places.append((below, dataset.repeats * max(1, int(kohya[1])), kohya[2]))
    for place, repeats, usual in places:
        for path in pictures_in(place):
            count += 1
            mask = mask_file(path)
            yield Example(path, read_caption(path) or usual, repeats, "" if dataset.regular else dataset.trigger,
                          mask if mask.is_file() else None, dataset.regular, read_crop(path))
    if not count:
        raise InvalidInput(f"There is no picture in {folder}.", field="folder")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, in the order of their names."""
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]


def read_caption(picture: Path) -> str:
    """What lies beside the picture, in one line; "" for nothing."""
    for suffix in CAPTIONS:
        path = picture.with_suffix(suffix)
        if path.is_file():
            return " ".join(path.read_text("utf-8", errors="replace")[:LONGEST].split())
    return ""


def mask_file(picture: Path) -> Path:
    """Where the mask of a picture lies, if it has one."""
    return picture.parent / MASKS / f"{picture.stem}.png"


def crop_file(picture: Path) -> Path:
    """Where a picture's crop is written, if it has one: a text like 612x512+40+20 (width x height + left + top)."""
    return picture.parent / CROPS / f"{picture.stem}.txt"


def read_crop(picture: Path) -> Box | None:
    """What of the picture is trained. Raises InvalidInput for a file that says something else."""
    path = crop_file(picture)
    if not path.is_file():
        return None
    if box := read_box(path.read_text("utf-8", errors="replace")[:100]):
        return box
    raise InvalidInput(f"{CROPS}/{path.name} must be a box like 612x512+40+20 (width x height + left + top).")


def check_crop(crop: Box | None, picture: Path, size: Size) -> None:
    """Raise InvalidInput for a crop that does not lie in its picture, which has `size` pixels."""
    if crop is not None and (crop[2] > size[0] or crop[3] > size[1]):
        raise InvalidInput(f"The crop of {picture.name} does not lie in the picture, which has {size[0]} x {size[1]} "
                           "pixels.")


def cropped(image: Image.Image, example: Example) -> Image.Image:
    """What of a picture, or of its mask in the same size, is trained. Raises InvalidInput."""
    check_crop(example.crop, example.path, image.size)
    return image.crop(example.crop) if example.crop else image


def open_picture(path: Path) -> Image.Image:
    """The picture, RGB, as its EXIF says it is turned; transparent places are white. Raises InvalidInput."""
    return to_rgb(_opened(path, path.name))


def open_mask(path: Path, size: Size) -> Image.Image:
    """The mask, grey, in the size of its picture. Raises InvalidInput."""
    return to_rgb(_opened(path, f"{MASKS}/{path.name}")).convert("L").resize(size, Image.Resampling.BILINEAR)


def _opened(path: Path, name: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{name} cannot be read as a picture: {error}.") from error


def bucket(size: Size, side: int, step: int) -> Size:
    """The size (width, height) in which a picture of `size` is trained: multiples of `step`, of about side * side
    pixels and the picture's proportions."""
    ratio = min(max(size[0] / size[1], 1 / MOST_RATIO), MOST_RATIO)
    width = max(step, round((side * side * ratio) ** 0.5 / step) * step)
    height = max(step, round(width / ratio / step) * step)
    return width, height


@dataclass(frozen=True)
class Cut:
    """A picture as it is trained: `image` of its bucket's size. `original` is its own size, and `crop` (left, top) what
    was cut away in the pixels of `image`, which SDXL is told."""

    image: Image.Image
    original: Size
    crop: tuple[int, int]


def cut(image: Image.Image, size: Size) -> Cut:
    """`image` made as small as covers `size`, and its middle."""
    scale = max(size[0] / image.width, size[1] / image.height)
    whole = max(size[0], round(image.width * scale)), max(size[1], round(image.height * scale))
    left, top = (whole[0] - size[0]) // 2, (whole[1] - size[1]) // 2
    resized = image.resize(whole, Image.Resampling.LANCZOS)
    return Cut(resized.crop((left, top, left + size[0], top + size[1])), image.size, (left, top))
