"""How much memory there is to spend."""

from __future__ import annotations

import pytest
import torch

from modules.base.free_memory import free_memory


def test_what_pytorch_holds_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver has 3 GB; of the 5 that PyTorch took, 1 is in use."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 10**9, 8 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10**9)
    assert free_memory("cuda:0") == 7 * 10**9
