"""What the tests share: settings in a folder of their own, the engine over a model in closed form, and its queue."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: two test processes that share the cores wait for each other in every parallel loop.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
from fakes import FakeModel, fake_engine, write_checkpoint
from make_tiny import make_tiny

from modules.engine.engine import Engine
from modules.gallery.saving import Saver
from modules.jobs.queue import JobQueue
from modules.jobs.recordings import Recordings
from modules.settings import Settings

os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# A busy machine is slow, not wrong; and a search for new examples is for a desk (SEARCH=1), not for a check.
hypothesis.settings.register_profile("patient", deadline=None, derandomize="SEARCH" not in os.environ)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def same_seeds(request: pytest.FixtureRequest) -> None:
    """Seeds that a request leaves to chance are each test's own, the same in every run."""
    random.seed(request.node.nodeid)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose every folder is the test's own, with two checkpoints to choose from."""
    settings = Settings(data_dir=tmp_path)
    for name in ("first", "second"):
        write_checkpoint(settings.checkpoint_dirs[0], name)
    return settings


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def engine(settings: Settings) -> Engine:
    """The real engine; each checkpoint's model is a FakeModel with a mean of its own."""
    means = {"first": 0.2, "second": -0.4}
    return fake_engine(settings, lambda name: FakeModel(name=name, mean=means[name]))


@pytest.fixture
def queue(engine: Engine, settings: Settings) -> Iterator[JobQueue]:
    queue = JobQueue(engine, Saver(settings.outputs_dir), recordings=Recordings(settings.recordings_dir))
    yield queue
    queue.close()


@pytest.fixture(scope="session")
def golden() -> Path:
    """The recorded pictures of real WebUI, where they are at hand."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip("the recorded pictures are not here")
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny-sd15 and tiny-sd15-inpainting."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("tiny-sd15", "tiny-sd15-inpainting"):
        make_tiny(name, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny(checkpoints: Path) -> Path:
    return checkpoints / "tiny-sd15.safetensors"


@pytest.fixture(scope="session")
def tiny_inpainting(checkpoints: Path) -> Path:
    return checkpoints / "tiny-sd15-inpainting.safetensors"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests first: one of those at the end would leave the other processes with nothing to do."""
    items.sort(key=lambda item: "browser" not in item.path.parts)
