"""What goes wrong, as exceptions with the message of the C++ library.

Each is also the built-in exception that fits: InvalidArgument a ValueError, NotFound a
FileNotFoundError, Unsupported a NotImplementedError, DeadlineExceeded a TimeoutError.
"""

from __future__ import annotations


class Error(RuntimeError):
    """The base of all; `code` is the stable name of the kind."""

    code = "internal"


class InvalidArgument(Error, ValueError):
    code = "invalid_argument"


class NotFound(Error, FileNotFoundError):
    code = "not_found"

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Corrupt(Error):
    code = "corrupt"


class Unsupported(Error, NotImplementedError):
    code = "unsupported"


class ResourceExhausted(Error):
    code = "resource_exhausted"


class DeadlineExceeded(Error, TimeoutError):
    code = "deadline_exceeded"

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Cancelled(Error):
    code = "cancelled"


class Unavailable(Error):
    code = "unavailable"


class Internal(Error):
    code = "internal"


_KINDS = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        Corrupt,
        Unsupported,
        ResourceExhausted,
        DeadlineExceeded,
        Cancelled,
        Unavailable,
        Internal,
    )
}


def of(code: str, message: str) -> Error:
    """The exception for an error of the C++ library."""
    return _KINDS.get(code, Internal)(message)
