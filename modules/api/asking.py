"""Which client a request comes from."""

from __future__ import annotations

from fastapi import Request

from modules.jobs.client import Client
from modules.settings import Settings


def client_of(request: Request, settings: Settings) -> Client:
    """The client that sent `request`. Where passwords are set, the gate lets nobody in without one."""
    return Client.of(request.client.host if request.client else "", has_password=bool(settings.passwords))
