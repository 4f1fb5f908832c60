"""Who may come in: pairs of user and password, and a wait for addresses from which wrong ones come.

After `FREE_TRIES` wrong passwords an address must wait, twice as long after each further one. A password that was right
before goes on being taken, so that nobody is locked out by a neighbour behind the same address.
"""

from __future__ import annotations

import base64
import binascii
import collections
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from typing import Any

FREE_TRIES = 5
LONGEST_WAIT = 60.0
"""Seconds."""
FORGET_SECONDS = 15 * 60.0
MOST_ADDRESSES = 10_000


class Passwords:
    """The pairs that open the door, and what each address has tried."""

    def __init__(self, pairs: Iterable[tuple[str, str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._pairs, self._clock = tuple(pairs), clock
        self._wrong: collections.OrderedDict[str, tuple[int, float]] = collections.OrderedDict()
        self._was_right: collections.OrderedDict[tuple[str, bytes], None] = collections.OrderedDict()

    def wait(self, address: str, header: str) -> float:
        """Seconds for which this Authorization header is not looked at; 0 for one that was right before."""
        tries, last = self._wrong.get(address, (0, 0.0))
        if tries < FREE_TRIES or (address, _digest(header)) in self._was_right:
            return 0.0
        return max(last + min(2.0 ** (tries - FREE_TRIES), LONGEST_WAIT) - self._clock(), 0.0)

    def open(self, address: str, header: str) -> bool:
        """Whether the header holds one of the pairs; a wrong one is remembered. Without a header nothing was tried."""
        if is_authorised(header, self._pairs):
            _remember(self._was_right, (address, _digest(header)), None)
            return True
        if header:
            tries, last = self._wrong.pop(address, (0, 0.0))
            tries = 0 if self._clock() - last > FORGET_SECONDS else tries
            _remember(self._wrong, address, (tries + 1, self._clock()))
        return False


def is_authorised(header: str, pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether an Authorization header holds one of the pairs. Takes as long for a wrong one as for a right one.

    `Bearer user:password` counts too, in plain text or base64: OpenAI's programs send their key so.
    """
    scheme, _, text = header.partition(" ")
    kind, given = scheme.lower(), text.strip().encode("utf-8", "surrogateescape")
    try:
        decoded = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    right = False
    for user, password in pairs:
        pair = f"{user}:{password}".encode()
        right |= hmac.compare_digest(decoded, pair)
        right |= (kind == "bearer") & hmac.compare_digest(given, pair)
    return right and kind in ("basic", "bearer")


def _digest(header: str) -> bytes:
    return hashlib.sha256(header.encode("utf-8", "surrogatepass")).digest()


def _remember(table: collections.OrderedDict[Any, Any], key: object, value: object) -> None:
    table[key] = value
    while len(table) > MOST_ADDRESSES:
        table.popitem(last=False)
