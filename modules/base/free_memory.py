"""How much memory there is to spend. No torch, unless a GPU is asked about."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: str = "cpu") -> int:
    """Bytes that can still be taken where `device` ("cpu", "cuda:0", "mps", ...) keeps its tensors. On CUDA those that
    PyTorch holds for later are among them.
    """
    if device.startswith("cuda"):
        import torch

        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    return int(min(psutil.virtual_memory().available, _left_in_container()))


def _left_in_container(cgroup: Path = CGROUP) -> float:
    """Bytes that a container's limit (Linux, cgroup v2) leaves; what is only cached of files can be had, too."""
    try:
        limit = int((cgroup / "memory.max").read_text())  # "max" where there is none
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return float("inf")
    cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return max(limit - used + cached, 0)
