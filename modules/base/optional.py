"""Libraries that are wanted for some things only: spandrel, and the torchvision that it brings.

A torchvision that was made for another torch breaks every import of transformers, so that nothing works. PyPI's is made
for PyPI's torch (CUDA on Linux); beside the CPU's torch it is such a one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util

from modules.errors import UserError

OFFSET = 15
"""torch 2.N goes with torchvision 0.(N + 15)."""


class WrongTorchvision(UserError):
    """The installed torchvision cannot be imported beside the installed torch."""


def install_line() -> str:
    """The commands that install spandrel and a torchvision that fits the installed torch.

    INDEX_OF_TORCH stands for the package index that a torch of another build than PyPI's came from.
    """
    release, _, build = importlib.metadata.version("torch").partition("+")
    minor, patch = release.split(".")[1:3]
    fitting = f"torchvision==0.{int(minor) + OFFSET}.{patch}"
    if build:  # a build of its own comes from an index of its own, where torchvision's has the same label
        fitting = f'"{fitting}+{build}" --index-url INDEX_OF_TORCH'
    return f"pip install {fitting} && pip install spandrel"


def check_torchvision() -> None:
    """Raises WrongTorchvision when there is a torchvision that does not fit. Imports it, if there is one."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # an operator that its library does not register is a RuntimeError
        raise WrongTorchvision(
            f"The torchvision that is installed was not made for this torch {importlib.metadata.version('torch')} "
            f"({error}), and with it nothing works. pip uninstall -y torchvision removes it; {install_line()} installs "
            "one that fits.") from error
