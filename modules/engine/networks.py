"""The LoRAs, embeddings and hypernetworks that are there, and those that a request's prompts put on a model."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from modules.base.files import FileVersion, file_version
from modules.errors import CheckpointError
from modules.request import Txt2Img
from modules.settings import Settings
from modules.text.network_tags import HYPERNETWORK, LORA, NetworkTag, network_tags, with_network
from modules.weights.hashes import HashCache
from modules.weights.network_files import (
    EMBEDDING_SUFFIXES,
    HYPERNETWORK_SUFFIXES,
    LORA_SUFFIXES,
    NetworkFile,
    NetworkFiles,
    tensors_digest,
)

if TYPE_CHECKING:
    from modules.networks.patches.hypernetwork import Hypernetwork
    from modules.networks.patches.lora import Lora, LoraFile
    from modules.networks.patches.patches import Patches
    from modules.networks.text.words import Embedding, Words
    from modules.sampling.types import SDModel

Read = TypeVar("Read")

KEPT_BYTES = 2**29
"""Of the LoRAs used last that stay in memory, so that coming back to one need not read its file."""


@dataclass(frozen=True)
class Plan:
    """What one prompt puts on a model. `hashes` are those of its LoRAs by the name in the prompt."""

    patches: Patches
    hashes: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmbeddingsHere:
    """The embeddings that the model in use can use, and the others."""

    loaded: list[Embedding]
    skipped: list[Embedding]


class RequestNetworks:
    """The networks of one request, by the prompt of the pass."""

    def __init__(self, make: Callable[[str], Plan], request: Txt2Img) -> None:
        self._make, self._plans = make, dict[str, Plan]()
        self._request = request

    def of(self, prompt: str) -> Plan:
        """What `prompt` puts on a model. The files are read at the first call."""
        if prompt not in self._plans:
            self._plans[prompt] = self._make(prompt)
        return self._plans[prompt]

    @property
    def keys(self) -> dict[str, str]:
        """"Lora hashes" of the parameters text: those of the first pass, then those of the second."""
        request = self._request
        prompts = [request.prompt, *([request.hr_prompt or request.prompt] if request.enable_hr else [])]
        hashes: dict[str, str] = {}
        for prompt in prompts:
            hashes |= self.of(prompt).hashes
        shown = ", ".join(f"{name}: {digits}" for name, digits in hashes.items())
        return {"Lora hashes": shown} if shown and request.options.lora_add_hashes_to_infotext else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each thing that a prompt names and that is not there or cannot be read."""
        return tuple(dict.fromkeys(sentence for plan in self._plans.values() for sentence in plan.warnings))


class Networks:
    """The files of networks that are there, and those of them that are in memory. `refresh` looks for new files.

    Only the thread that carries out requests may call `of`.
    """

    def __init__(self, settings: Settings) -> None:
        whole = HashCache(settings.cache_dir / "network-hashes.json")
        self.loras = NetworkFiles(settings.lora_dirs, LORA_SUFFIXES,
                                  HashCache(settings.cache_dir / "lora-hashes.json", tensors_digest))
        self.embeddings = NetworkFiles(settings.embeddings_dirs, EMBEDDING_SUFFIXES, whole)
        self.hypernetworks = NetworkFiles(settings.hypernetwork_dirs, HYPERNETWORK_SUFFIXES, whole)
        self._loras: _Kept[LoraFile] = _Kept(KEPT_BYTES)
        self._hypernetworks: _Kept[Any] = _Kept(KEPT_BYTES)
        self._embeddings: dict[Path, tuple[FileVersion | None, Embedding | str]] = {}
        self._words: tuple[Hashable, Callable[[], SDModel | None], Words] | None = None

    def refresh(self) -> None:
        """Look into all folders again."""
        for files in (self.loras, self.embeddings, self.hypernetworks):
            files.refresh()

    def of(self, request: Txt2Img) -> RequestNetworks:
        """The networks of a request. Files are read when they are needed."""
        return RequestNetworks(self._nothing_named if request.disable_extra_networks else self._plan, request)

    def loras_of(self, tags: Iterable[NetworkTag]) -> list[Lora]:
        """The LoRAs that `tags` name. Raises CheckpointError for one that is not there or cannot be read."""
        return [self._lora(tag)[0] for tag in tags]

    def known_embeddings(self) -> tuple[list[Embedding], dict[str, str]]:
        """The embeddings of all files that can be read, and for each other file's name why it cannot."""
        from modules.networks.patches.embedding import read_embedding

        found, skipped = [], {}
        now: dict[Path, tuple[FileVersion | None, Embedding | str]] = {}
        for file in self.embeddings.files():
            version = file_version(file.path)
            known = self._embeddings.get(file.path)
            if known is None or known[0] != version:
                try:
                    known = version, read_embedding(file.path, self.embeddings.short_hash(file))
                except CheckpointError as error:
                    known = version, error.message
            now[file.path] = known
            if isinstance(known[1], str):
                skipped[file.name] = known[1]
            else:
                found.append(known[1])
        self._embeddings = now  # at once: other threads read it meanwhile
        return found, skipped

    def embeddings_for(self, model: SDModel | None) -> EmbeddingsHere:
        """The embeddings that a model can use, by name; without a model all that can be read."""
        found, _ = self.known_embeddings()
        fits = {one.name: model is None or model.reads(one) for one in found}
        return EmbeddingsHere([one for one in found if fits[one.name]], [one for one in found if not fits[one.name]])

    def words(self, model: SDModel | None) -> Words:
        """Those embeddings as words of a prompt, looked at again when a file comes or goes: it is asked for at every
        key."""
        from modules.networks.text.clip_tokenizer import load_tokenizer
        from modules.networks.text.words import Words

        version, known = self.embeddings.version(), self._words
        if known is None or known[0] != version or known[1]() is not model:
            found = Words(self.embeddings_for(model).loaded, load_tokenizer())
            known = self._words = version, weakref.ref(model) if model is not None else lambda: None, found
        return known[2]

    def _nothing_named(self, prompt: str) -> Plan:
        from modules.networks.patches.patches import Patches

        return Plan(Patches(embeddings=tuple(self.known_embeddings()[0])))

    def _plan(self, prompt: str) -> Plan:
        from modules.networks.patches.patches import Patches

        tags, bad = network_tags(prompt)
        warnings, hashes = [*bad], dict[str, str]()
        loras: list[Lora] = []
        hypernetworks: list[Hypernetwork] = []
        embeddings = self.known_embeddings()[0]
        # WebUI: each mention adds the network once more, with the weights of the last one.
        last = {(tag.kind, tag.name): tag for tag in tags}
        for tag in (last[tag.kind, tag.name] for tag in tags):
            try:
                if tag.kind == HYPERNETWORK:
                    hypernetworks.append(self._hypernetwork(tag))
                else:
                    lora, digits = self._lora(tag)
                    loras.append(lora)
                    embeddings += self._bundled(lora, tag.name)
                    if digits:
                        hashes[tag.name.replace(":", "").replace(",", "")] = digits
            except CheckpointError as error:
                warnings.append(error.message)
        return Plan(Patches(tuple(loras), tuple(hypernetworks), tuple(embeddings)), hashes, tuple(warnings))

    def _lora(self, tag: NetworkTag) -> tuple[Lora, str | None]:
        """The LoRA of a tag, and its hash. Raises CheckpointError."""
        from modules.networks.patches.lora import Lora, read_lora

        file = _found(self.loras, tag, "Lora")
        read = self._loras.get(file.path, lambda: read_lora(file.path, file.name))
        return Lora(read, tag.te, tag.unet, tag.rank), self.loras.short_hash(file)

    def _hypernetwork(self, tag: NetworkTag) -> Hypernetwork:
        """The hypernetwork of a tag. Raises CheckpointError."""
        from modules.networks.patches.hypernetwork import Hypernetwork, read_hypernetwork

        file = _found(self.hypernetworks, tag, "Hypernetwork")
        read = self._hypernetworks.get(file.path, lambda: read_hypernetwork(file.path, file.name))
        return Hypernetwork(read, tag.te)

    def _bundled(self, lora: Lora, name: str) -> list[Embedding]:
        """The embeddings that a LoRA brings. Raises CheckpointError."""
        from modules.networks.patches.embedding import embedding_of

        file = lora.file
        return [embedding_of(tensors, word, file.path.name, name, (file.path, file.version))
                for word, tensors in file.embeddings.items()]


class _Kept(Generic[Read]):
    """Files that were read, by path; the least recently used forgotten first, and each that has changed."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._read: dict[Path, tuple[Hashable, Read]] = {}

    def get(self, path: Path, read: Callable[[], Read]) -> Read:
        """The file as it is now."""
        version = file_version(path)
        known = self._read.pop(path, None)
        if known is None or known[0] != version:
            known = version, read()
        self._read[path] = known
        while sum(getattr(one, "nbytes", 0) for _, one in self._read.values()) > self._budget and len(self._read) > 1:
            del self._read[next(iter(self._read))]
        return known[1]


def with_default_networks(request: Txt2Img) -> Txt2Img:
    """`request` with the networks in its prompts that its options add to every prompt."""
    options = request.options
    for kind, name in ((LORA, options.sd_lora), (HYPERNETWORK, options.sd_hypernetwork)):
        if name not in ("", "None"):
            prompts: dict[str, Any] = {
                field: with_network(prompt, kind, name, options.extra_networks_default_multiplier)
                for field, prompt in (("prompt", request.prompt), ("hr_prompt", request.hr_prompt))
                if prompt or field == "prompt"}
            request = dataclasses.replace(request, **prompts)
    return request


def _found(files: NetworkFiles, tag: NetworkTag, word: str) -> NetworkFile:
    file = files.find(tag.name)
    if file is None:
        raise CheckpointError(f"{word} not found: {tag.name[:200]}.")
    return file
