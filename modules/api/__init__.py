"""WebUI's HTTP API (/sdapi/v1) and the gate in front of it and of the page."""

from modules.api.server import create_api

__all__ = ["create_api"]
