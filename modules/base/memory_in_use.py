"""The memory that this process has in use, in the words of WebUI's API."""

from __future__ import annotations

from typing import Any

import psutil


def memory_in_use() -> dict[str, Any]:
    """The process' own memory and the graphics card's, in bytes."""
    return {"ram": _ram(), "cuda": _cuda()}


def _ram() -> dict[str, Any]:
    used, total = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    return {"free": total - used, "used": used, "total": total}


def _cuda() -> dict[str, Any]:
    import torch  # heavy, and asked for rarely

    if not torch.cuda.is_available():
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info()
    stats = torch.cuda.memory_stats()
    pairs = {name: {"current": stats.get(f"{key}.all.current", 0), "peak": stats.get(f"{key}.all.peak", 0)}
             for name, key in (("active", "active_bytes"), ("allocated", "allocated_bytes"),
                               ("reserved", "reserved_bytes"), ("inactive", "inactive_split_bytes"))}
    events = {"retries": stats.get("num_alloc_retries", 0), "oom": stats.get("num_ooms", 0)}
    return {"system": {"free": free, "used": total - free, "total": total}, **pairs, "events": events}
