"""The memory that is still free, and what says that there is none. Imports torch only for a GPU."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: str = "cpu") -> int:
    """The free bytes in the memory of `device` ("cpu", "cuda:0", "mps", ...). On CUDA this includes what PyTorch's
    allocator has reserved and does not use.
    """
    if device.startswith("cuda"):
        import torch

        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    return int(min(psutil.virtual_memory().available, _left_in_container()))


def _left_in_container(cgroup: Path = CGROUP) -> float:
    """The bytes left below a container's memory limit (Linux, cgroup v2), cached file pages included. Infinity if there
    is no limit."""
    try:
        limit = int((cgroup / "memory.max").read_text())  # "max" without a limit
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return float("inf")
    cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return max(limit - used + cached, 0)


NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "could not create a memory", "ALLOC_FAILED")
"""Parts of the messages with which PyTorch, oneDNN, cuBLAS and cuDNN report that memory is exhausted."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory is exhausted. Torch's exception is recognised by its name, so that this file
    need not import torch. On the CPU torch raises a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
