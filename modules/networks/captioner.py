"""Sentences about pictures by a captioner of transformers in a folder: BLIP (Li et al. 2022), GIT (Wang et al. 2022)
and others whose processor needs no text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image

from modules.errors import CheckpointError

MOST_TOKENS = 48
"""Of a sentence, as WebUI's option for BLIP has it."""

Caption = Callable[[Image.Image, Callable[[], None]], str]
"""(RGB picture, what is called at each word and may raise) -> a sentence."""


def load_captioner(folder: Path, device: str) -> Caption:
    """The captioner in `folder`, which has transformers' layout. No code of the folder runs, and pickles are not read.

    Raises CheckpointError.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor, StoppingCriteriaList

    try:
        processor = cast(Any, AutoProcessor).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        network = cast(Any, AutoModelForImageTextToText).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            dtype=torch.float32).to(device).eval()
    except Exception as error:  # a foreign folder makes transformers raise nearly anything
        raise CheckpointError(f"{folder.name} in models/captioners is no captioner that can be used: "
                              f"{(str(error).splitlines() or [''])[0][:200]}") from error

    @torch.inference_mode()
    def caption(picture: Image.Image, check: Callable[[], None]) -> str:
        def asked(tokens: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            check()
            return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

        inputs = processor(images=picture, return_tensors="pt").to(device)
        tokens = network.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False,
                                  stopping_criteria=StoppingCriteriaList([asked]))
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()

    return caption
