"""The errors a caller may catch. Anything else that escapes is a bug.

Every error is also the matching builtin, so ``except ValueError`` works as well as ``except TgvcError``.
"""


class TgvcError(Exception):
    """Root of every error that tgvc raises on purpose; its text is one line: what, got, expected, what to do."""


class ConfigError(TgvcError, ValueError):
    """A request that cannot be honoured: names the field, its value and the rule."""


class VideoError(TgvcError, OSError):
    """A video that cannot be read or written."""


class BitstreamError(TgvcError, ValueError):
    """Bytes that are not a valid .tgvc stream: names the section and the byte offset."""


class UnsupportedVersionError(BitstreamError):
    """A .tgvc stream of a version that this release does not know."""


class TruncatedError(BitstreamError):
    """A .tgvc stream that ends too early."""


class ChecksumError(BitstreamError):
    """A chunk whose bytes do not match their checksum."""


class BundleError(TgvcError, ValueError):
    """A bundle of networks that is missing, damaged or not what its manifest says: names every fault found."""


class BackendError(TgvcError, RuntimeError):
    """A network backend that failed."""


class BackendUnavailableError(BackendError, ImportError):
    """A backend or optional package that is not installed: says what is missing and how to get it."""


class SessionError(TgvcError, RuntimeError):
    """A decoding session that takes no more requests, or is used in another process than it was made in."""


class SessionFullError(SessionError):
    """A decoding session whose queue of requests is full."""


class RequestCancelledError(SessionError):
    """A request of a decoding session that was cancelled, or ended with its session."""


class RequestTimeoutError(SessionError, TimeoutError):
    """A request of a decoding session that missed its deadline, or a wait for it that took too long."""
