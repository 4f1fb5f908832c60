"""Reads the parameters text from a picture file."""

from __future__ import annotations

from PIL import ExifTags, Image

PARAMETERS = "parameters"
"""The PNG text chunk that holds the parameters text."""


def read(image: Image.Image) -> str:
    """The parameters text of an opened PNG, JPEG, WebP, AVIF or GIF. Empty if there is none. Never raises.

    It is in a text chunk of a PNG, the comment of a GIF, and the EXIF UserComment of the others, as WebUI writes it.
    """
    text = image.info.get(PARAMETERS)
    if isinstance(text, str):
        return text
    comment = _user_comment(image) or image.info.get("comment", b"")
    return _decoded(comment) if isinstance(comment, bytes) else str(comment)


def _user_comment(image: Image.Image) -> bytes | str:
    try:
        found = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    except Exception:  # a broken EXIF block makes Pillow's reader raise nearly anything
        return b""
    return found if isinstance(found, bytes | str) else b""


def _decoded(comment: bytes) -> str:
    """Decode a comment. An EXIF comment begins with 8 bytes that name its encoding; "UNICODE" may have either byte
    order."""
    head, body = comment[:8], comment[8:]
    if head == b"UNICODE\0":
        # Most characters of a parameters text are Latin, so the position of their zero bytes gives the byte order.
        little = body[1::2].count(0) > body[::2].count(0)
        text = body.decode("utf-16-le" if little else "utf-16-be", "replace")
    elif head in (b"ASCII\0\0\0", b"\0" * 8):
        text = body.decode("utf-8", "replace")
    else:
        text = comment.decode("utf-8", "replace")
    return text.strip("\0\ufeff")
