"""Where the pictures of an AV1 payload begin and end, told from the headers of its units (OBUs)."""

from __future__ import annotations

_FRAME_HEADER, _FRAME = 3, 6  # obu_type, AV1 specification section 6.2.2
_SHOW_EXISTING, _SHOWN = 0x80, 0x10  # first bits of a frame header: show_existing_frame, frame_type (2), show_frame


def picture_sizes(payload: bytes, count: int) -> list[int] | None:
    """Bytes of every shown picture, those of the hidden pictures before it included.

    Args:
        payload: AV1 units with their sizes, without temporal delimiters.
        count: pictures shown.

    Returns:
        ``count`` sizes whose sum is the payload's, or None if the units do not show as many pictures. A single picture
        is the whole payload whatever its headers say.

    Source: AV1 bitstream specification, sections 5.3 and 5.9.2.
    """
    if count == 1:
        return [len(payload)]
    ends, at = [], 0
    while at < len(payload):
        header = payload[at]
        if not header & 2:  # obu_has_size_field
            return None
        body = at + 1 + (header >> 2 & 1)
        size = shift = 0
        while True:
            if body >= len(payload) or shift > 28:
                return None
            size |= (payload[body] & 127) << shift
            shift, body = shift + 7, body + 1
            if payload[body - 1] < 128:
                break
        at = body + size
        if at > len(payload):
            return None
        if header >> 3 & 15 in (_FRAME, _FRAME_HEADER) and size and payload[body] & (_SHOW_EXISTING | _SHOWN):
            ends.append(at)
    if len(ends) != count:
        return None
    ends[-1] = len(payload)
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
