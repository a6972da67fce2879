"""Reads the one field of a multipart form that a key may be limited by: its model.

Two readers of a form that is written in an unusual way can see different fields. So a form is
taken apart only where it is written as every HTTP client does, and refused otherwise.
"""

import re

_TYPE = re.compile(
    r"multipart/form-data; *boundary=(?:\"([A-Za-z0-9'()+_,./:=?-]{1,70})\"|([\w'.+-]{1,70}))",
    re.ASCII | re.IGNORECASE,
)
_PLACE = re.compile(rb'content-disposition: *form-data; *name="([^"\\;*]*)"(; *filename=.*)?', re.I)
_OTHER = re.compile(rb"content-(?:type|length|transfer-encoding): *[\x20-\x7e]*", re.I)
LONGEST = 1024  # bytes of a field's value


class FormError(Exception):
    """The form is not written as clients write them."""


def field(body: bytes, content_type: str, name: str) -> str | None:
    """The text of a field; None where the form has none of that name.

    Raises:
        FormError: the form can be read in more than one way, or has the field more than once.
    """
    found = _TYPE.fullmatch(content_type.strip())
    if found is None:
        raise FormError("content-type has more than a boundary")
    mark = b"--" + (found[1] or found[2]).encode()
    # Every place where the boundary stands is one between parts.
    first, *parts = (b"\r\n" + body).split(b"\r\n" + mark)
    if first or not parts or body.count(mark) != len(parts):
        raise FormError("a boundary is where none belongs")
    if parts.pop() not in (b"--", b"--\r\n"):
        raise FormError("the last boundary is missing")
    values = [value for given, value in map(_part, parts) if given == name.encode()]
    if len(values) > 1 or (values and values[0] is None):
        raise FormError(f"{name} is given more than once, or as a file")
    if not values or values[0] is None:
        return None
    try:
        return values[0][: LONGEST + 1].decode()
    except UnicodeDecodeError as error:
        raise FormError(f"{name} is not text") from error


def _part(part: bytes) -> "tuple[bytes, bytes | None]":
    """Name and value of a part; None for a file's."""
    head, found, value = part.partition(b"\r\n\r\n")
    begin, *lines = head.split(b"\r\n")
    places = [place for line in lines if (place := _PLACE.fullmatch(line))]
    if begin or not found or len(places) != 1:
        raise FormError("a part is not named once")
    if not all(_OTHER.fullmatch(line) for line in lines if not _PLACE.fullmatch(line)):
        raise FormError("a part has a header that forms have not")
    return places[0][1], None if places[0][2] else value
