"""OpenAI's own client against /v1/images, as programs that speak OpenAI's API use it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from modules.settings import Settings

OURS = {"steps": 3, "seed": 5, "sampler_name": "Euler"}


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def file(image: Image.Image) -> tuple[str, bytes, str]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "a.png", buffer.getvalue(), "image/png"


def opened(one: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(one.b64_json)))


def test_pictures_are_generated(client: openai.OpenAI) -> None:
    made = client.images.generate(prompt="a dog", n=2, size="64x48", model="gpt-image-1", extra_body=OURS)  # type: ignore[arg-type]
    assert [opened(one).size for one in made.data or ()] == [(64, 48)] * 2
    assert "Seed: 5," in opened((made.data or [])[0]).info["parameters"]
    again = client.images.generate(prompt="a dog", n=1, size="64x48", extra_body=OURS)  # type: ignore[arg-type]
    assert again.data[0] == made.data[0], "the seed decides"  # type: ignore[index]


def test_the_model_and_the_format_are_chosen(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["first", "second"]
    made = [client.images.generate(prompt="a dog", size="64x48", model=name, output_format="jpeg",  # type: ignore[call-overload]
                                   output_compression=90, extra_body=OURS) for name in names]
    assert [opened(one.data[0]).format for one in made] == ["JPEG"] * 2
    assert made[0].data != made[1].data
    as_url = client.images.generate(prompt="a dog", size="64x48", response_format="url", extra_body=OURS)  # type: ignore[call-overload]
    assert as_url.data[0].url.startswith("data:image/png;base64,")


def test_transparent_means_paint_here(client: openai.OpenAI, photo: Image.Image) -> None:
    mask = Image.new("RGBA", photo.size, "white")
    mask.paste((0, 0, 0, 0), (16, 16, 48, 32))
    made = client.images.edit(image=file(photo), mask=file(mask), prompt="a cat", extra_body=OURS)
    result = np.asarray(opened((made.data or [])[0]).convert("RGB"))
    assert np.array_equal(result[:4], np.asarray(photo)[:4]), "what is opaque is kept"
    assert not np.array_equal(result[20:28, 20:44], np.asarray(photo)[20:28, 20:44])


def test_without_a_mask_the_pictures_own_transparency_counts_or_all_of_it_is_changed(client: openai.OpenAI,
                                                                                    photo: Image.Image) -> None:
    hole = photo.convert("RGBA")
    hole.paste((0, 0, 0, 0), (16, 16, 48, 32))
    made = client.images.edit(image=file(hole), prompt="a cat", extra_body=OURS)
    assert np.array_equal(np.asarray(opened((made.data or [])[0]).convert("RGB"))[:4], np.asarray(photo)[:4])
    whole = client.images.edit(image=[file(photo)], prompt="a cat", size="32x32", extra_body=OURS)  # type: ignore[call-overload]
    assert opened(whole.data[0]).size == (32, 32)
    assert "Denoising strength: 0.75" in opened(whole.data[0]).info["parameters"]


def test_what_cannot_be_done_is_said_in_openais_shape(client: openai.OpenAI, photo: Image.Image,
                                                      settings: Settings) -> None:
    for fields in ({"size": "wide"}, {"size": "99999x64"}, {"n": 1000}, {"stream": True}):
        with pytest.raises(openai.APIStatusError) as refused:
            client.images.generate(prompt="a dog", **fields)  # type: ignore[call-overload]
        assert refused.value.status_code == 422
    with pytest.raises(openai.APIStatusError, match="transparent"):
        client.images.edit(image=file(photo), mask=file(photo), prompt="a cat")
    with pytest.raises(openai.APIStatusError, match="image is not a picture"):
        client.images.edit(image=("a.png", b"none", "image/png"), prompt="a cat")
    with pytest.raises(openai.APIStatusError, match="One image"):
        client.images.edit(image=[file(photo), file(photo)], prompt="a cat")
