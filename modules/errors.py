"""What can go wrong in a way that a person can act on. Every message is one sentence for the screen."""

from __future__ import annotations

from modules.base.unicode import without_surrogates

OUR_FAULT = "Something went wrong inside the program; the server's log says what."
"""What is said of every error that is none of these."""


class UserError(Exception):
    """A problem with one clear sentence for the person at the screen; `status` is its HTTP status.

    `field` names the request field that caused it, in WebUI's spelling, when there is one. What is no character (half a
    surrogate pair in a name that somebody sent) is a question mark in the sentence.
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
    """Something asked for by name does not exist."""

    status = 404


class CheckpointError(UserError):
    """A checkpoint or VAE file that cannot be used: truncated, mislabelled, unsafe, of another family."""

    status = 422


class BadResult(UserError):
    """The network gave NaN or infinity; nothing was saved."""

    status = 422


class StorageFull(UserError):
    """No room to save a picture."""

    status = 507


class Stopped(Exception):
    """Raised inside a running job when somebody asked it to stop; never shown."""


class Interrupted(Stopped):
    """Stop the whole job and keep the partial picture."""


class Skipped(Stopped):
    """Stop this batch, keep its partial picture, and go on with the next."""
