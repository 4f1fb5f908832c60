"""What WebUI's page asks for under /internal, and programs too by now; and /config for a server without a page."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import Any

import psutil
from fastapi import APIRouter, Request

from modules.api.asking import client_of
from modules.engine.engine import Engine
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from modules.text.infotext import VERSION

LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "numpy", "pillow", "gradio", "fastapi", "uvicorn")


def router(engine: Engine, queue: JobQueue, settings: Settings) -> APIRouter:
    """The endpoints."""
    api = APIRouter()

    @api.get("/internal/pending-tasks")
    def pending_tasks(request: Request) -> dict[str, Any]:
        client, waiting = client_of(request, settings), queue.pending()
        return {"size": len(waiting), "tasks": [job.id for job in waiting if client.may_see(job)]}

    @api.get("/internal/sysinfo")
    def sysinfo() -> dict[str, Any]:
        return system(engine, settings)

    if settings.nowebui:
        @api.get("/config", include_in_schema=False)
        def config() -> dict[str, Any]:
            """Gradio's, of a page with nothing on it: programs look here whether a WebUI answers at all."""
            return {"version": importlib.metadata.version("gradio"), "mode": "blocks", "title": "Inpaint WebUI",
                    "components": [], "dependencies": [], "layout": {"id": 0, "children": []}}
    return api


def system(engine: Engine, settings: Settings) -> dict[str, Any]:
    """The program, its libraries and the machine, under WebUI's names where it has one. No password is in it, and of
    the environment nothing."""
    memory = psutil.virtual_memory()
    return {
        "Platform": platform.platform(), "Python": platform.python_version(), "Version": VERSION, "Commit": "",
        "Data path": str(settings.data_dir), "Extensions dir": str(settings.extension_dirs[-1]),
        "Flags": settings.public(),
        "CPU": {"model": platform.processor(), "count logical": os.cpu_count(),
                "count physical": psutil.cpu_count(logical=False)},
        "RAM": {"total": memory.total, "used": memory.used, "free": memory.available},
        "Extensions": [{"name": one.name, "version": one.version, "enabled": one.loaded}
                       for one in engine.extensions.extensions],
        "Config": engine.config.values(), "Executable": sys.executable,
        "Packages": [f"{name}=={importlib.metadata.version(name)}" for name in LIBRARIES]}
