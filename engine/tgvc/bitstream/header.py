"""The header of a .tgvc stream: what holds for all of its frames."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction

from tgvc.bitstream.fields import VARINT_LIMIT, FieldReader, varint
from tgvc.errors import BitstreamError, ChecksumError, ConfigError, TruncatedError, UnsupportedVersionError

MAGIC = b"TGVC"
VERSION = 1
MAX_SIDE = 8192  # working size, px
MAX_SOURCE_SIDE = 32768
MAX_FPS = 1000
DEFAULT_MATRIX = 6
CRC_BYTES = 4
FIXED_BYTES = len(MAGIC) + 2  # magic, version, length of the fields
RATES = tuple(
    Fraction(*pair)
    for pair in (
        *((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (50, 1), (60000, 1001), (60, 1)),
        *((120000, 1001), (120, 1), (10, 1), (12, 1), (15, 1), (20, 1), (240, 1)),
    )
)  # in the file: index + 1; 0 stands for a rate written out
_OPTIONAL = {"source": 0, "profile": 1, "seed": 4, "matrix": 5}  # bits of the flags, in the order of the fields


@dataclass(frozen=True, kw_only=True)
class Header:
    """What holds for a whole stream.

    ``width, height``: working size in px, multiples of 16 up to 8192. ``source_width, source_height``: size as a player
    shows the source, px. ``fps``: frames per second. ``matrix``: colour matrix code of ISO/IEC 23091-2. ``profile``:
    what the encoder sent (information). ``seed``: of all noise a generator draws.
    """

    width: int
    height: int
    source_width: int
    source_height: int
    fps: Fraction
    matrix: int = DEFAULT_MATRIX
    profile: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if value % 16 or not 16 <= value <= MAX_SIDE:
                raise ConfigError(f"{name}={value}: expected a multiple of 16 from 16 to {MAX_SIDE}")
        fps = self.fps
        if not (0 < fps <= MAX_FPS and fps.numerator <= VARINT_LIMIT and fps.denominator <= VARINT_LIMIT):
            raise ConfigError(f"fps={fps}: expected more than 0 and at most {MAX_FPS}, terms below 2**32")
        limits = {"source_width": (1, MAX_SOURCE_SIDE), "source_height": (1, MAX_SOURCE_SIDE)}
        limits |= dict.fromkeys(("matrix", "profile"), (0, 255)) | {"seed": (0, VARINT_LIMIT)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name}={getattr(self, name)}: expected {low}..{high}")

    def to_bytes(self) -> bytes:
        """The header as written, checksum included."""
        optional = {
            "source": ()
            if (self.source_width, self.source_height) == (self.width, self.height)
            else (self.source_width, self.source_height),
            "matrix": () if self.matrix == DEFAULT_MATRIX else (self.matrix,),
        } | {name: (v,) if (v := getattr(self, name)) else () for name in ("profile", "seed")}
        flags = sum(1 << bit for name, bit in _OPTIONAL.items() if optional[name])
        fields = varint(self.width // 16) + varint(self.height // 16)
        if self.fps in RATES:
            fields += bytes([RATES.index(self.fps) + 1])
        else:
            fields += b"\0" + varint(self.fps.numerator) + varint(self.fps.denominator)
        fields += bytes([flags]) + b"".join(varint(v) for name in _OPTIONAL for v in optional[name])
        data = MAGIC + bytes([VERSION, len(fields)]) + fields
        return data + zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def header_size(start: bytes) -> int:
    """Bytes of a whole header, told by its first `FIXED_BYTES`.

    Raises:
        TruncatedError, UnsupportedVersionError, BitstreamError: too short, a later format, or not a .tgvc stream.
    """
    if start[: len(MAGIC)] != MAGIC[: len(start)] or not start:
        what = f"got {start[: len(MAGIC)]!r}" if start else "the stream is empty"
        raise BitstreamError(f"header, byte 0: {what}, expected {MAGIC!r}: not a .tgvc stream")
    if len(start) < FIXED_BYTES:
        raise TruncatedError(f"header, byte {len(start)}: the stream ends inside its header")
    if start[4] != VERSION:
        raise UnsupportedVersionError(f"header, byte 4: version {start[4]}, expected {VERSION}: use a newer tgvc")
    return FIXED_BYTES + start[5] + CRC_BYTES


def parse_header(data: bytes) -> Header:
    """The header in exactly the bytes that `header_size` asks for.

    Raises:
        ChecksumError: damaged. BitstreamError: impossible values.
    """
    size = header_size(data[:FIXED_BYTES])
    if len(data) < size:
        raise TruncatedError(f"header, byte {len(data)}: the stream ends inside its header")
    body = size - CRC_BYTES
    if zlib.crc32(data[:body]) != int.from_bytes(data[body:size], "little"):
        raise ChecksumError(f"header, byte {body}: the checksum does not match: the stream is damaged")
    reader = FieldReader(data[FIXED_BYTES:body], "header", FIXED_BYTES)
    width, height = (16 * reader.varint(name, 1, MAX_SIDE // 16) for name in ("width/16", "height/16"))
    code = reader.byte("fps", len(RATES))
    terms = (1, 1) if code else (reader.varint("fps numerator", 1), reader.varint("fps denominator", 1))
    fps = RATES[code - 1] if code else Fraction(*terms)
    flags = reader.byte("flags")
    if unknown := flags & ~sum(1 << bit for bit in _OPTIONAL.values()):
        raise reader.error(f"flags={flags}: bits of value {unknown} are not known, expected a stream of this format")
    values = {"source_width": width, "source_height": height}
    for name, bit in _OPTIONAL.items():
        if flags >> bit & 1:
            values |= {field: reader.varint(field) for field in (tuple(values) if name == "source" else (name,))}
    reader.finish()
    try:
        return Header(width=width, height=height, fps=fps, **values)
    except ConfigError as error:
        raise BitstreamError(f"header, byte {FIXED_BYTES}: {error}") from error
