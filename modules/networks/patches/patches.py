"""What a prompt puts on a model: LoRAs, hypernetworks, and the embeddings that it may name."""

from __future__ import annotations

from dataclasses import dataclass

from modules.networks.patches.hypernetwork import Hypernetwork
from modules.networks.patches.lora import Lora
from modules.networks.text.words import Embedding


@dataclass(frozen=True)
class Patches:
    """All in the order in which they are applied. Of two embeddings of one name the first counts."""

    loras: tuple[Lora, ...] = ()
    hypernetworks: tuple[Hypernetwork, ...] = ()
    embeddings: tuple[Embedding, ...] = ()


NOTHING = Patches()
