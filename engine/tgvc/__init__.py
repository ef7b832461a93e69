"""tgvc: a trajectory-guided video codec for rates below 0.005 bits per pixel.

>>> import tgvc
>>> report = tgvc.encode("clip.mp4", "clip.tgvc", bpp=0.005)  # doctest: +SKIP
>>> tgvc.decode("clip.tgvc", "back.mp4")  # doctest: +SKIP

Importing this package loads nothing heavy: every name is fetched when it is first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgvc.api import concatenate, decode, decode_frames, encode, info, trim
    from tgvc.config import DecoderConfig, EncoderConfig
    from tgvc.decoder import Decoder
    from tgvc.encoder import Encoder
    from tgvc.errors import TgvcError
    from tgvc.session import DecodeSession

__version__ = "0.1.0"

__all__ = [
    "DecodeSession",
    "Decoder",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "TgvcError",
    "__version__",
    "concatenate",
    "decode",
    "decode_frames",
    "encode",
    "info",
    "trim",
]

_HOMES = {
    "DecodeSession": "tgvc.session",
    "Decoder": "tgvc.decoder",
    "DecoderConfig": "tgvc.config",
    "Encoder": "tgvc.encoder",
    "EncoderConfig": "tgvc.config",
    "TgvcError": "tgvc.errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "tgvc.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
