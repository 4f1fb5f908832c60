"""The errors that are reported to the user. Every message is one sentence for the screen."""

from __future__ import annotations

from modules.base.unicode import without_surrogates

OUR_FAULT = "Something went wrong inside the program; the server's log says what."
"""The message for any other error."""


class UserError(Exception):
    """An error with one clear sentence for the user. `status` is its HTTP status.

    `field` is the request field that caused it, in WebUI's spelling, or None. An unpaired surrogate in the message,
    which a name in a request may hold, becomes a question mark.
    """

    status = 400

    def __init__(self, message: str, *, field: str | None = None) -> None:
        self.message = without_surrogates(message)
        super().__init__(self.message)
        self.field = field


class InvalidInput(UserError):
    """A value that is out of range, of the wrong kind, or unknown."""

    status = 422


class NotFound(UserError):
    """Something that was requested by name does not exist."""

    status = 404


class CheckpointError(UserError):
    """A checkpoint or VAE file that cannot be used: truncated, mislabelled, unsafe, of another family."""

    status = 422


class BadResult(UserError):
    """The network gave NaN or infinity; nothing was saved."""

    status = 422


class StorageFull(UserError):
    """The disk is full."""

    status = 507


class Stopped(Exception):
    """Raised inside a running job to stop it; never shown."""


class Interrupted(Stopped):
    """Stop the whole job and keep the partial picture."""


class Skipped(Stopped):
    """Stop this batch, keep its partial picture, and go on with the next."""
