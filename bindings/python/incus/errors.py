# SPDX-License-Identifier: Apache-2.0
"""The exceptions: one class for each code, all derived from Error."""

from __future__ import annotations

from typing import Callable, Sequence, Tuple, Type, TypeVar

_E = TypeVar("_E", bound="Type[Error]")
_by_code: "dict[int, Type[Error]]" = {}


def _code(number: int, name: str, http_status: int) -> Callable[[_E], _E]:
    def mark(cls: _E) -> _E:
        cls.code, cls.name, cls.http_status = number, name, http_status
        _by_code[number] = cls
        return cls

    return mark


class Error(Exception):
    """A call failed. The message says what failed, on what, why, and what to do."""

    code: int = 16
    """The number of the code, the same as in C and C++."""
    name: str = "internal"
    """The code's name, such as "not_found"."""
    http_status: int = 500
    """The HTTP status that the REST API sends for it."""
    causes: Tuple[str, ...]
    """Messages of the causes, outermost first."""

    def __init__(self, message: str, causes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.causes = tuple(causes)

    @property
    def message(self) -> str:
        """The whole text, causes included."""
        return str(self.args[0])


@_code(1, "invalid_argument", 400)
class InvalidArgument(Error, ValueError):
    """A value breaks a rule; the message names the value and the rule."""


@_code(2, "forbidden", 403)
class Forbidden(Error):
    """The caller may not do this."""


@_code(3, "not_found", 404)
class NotFound(Error, LookupError):
    """No such object."""


@_code(4, "already_exists", 409)
class AlreadyExists(Error):
    """An object of that name is there already."""


@_code(5, "conflict", 400)
class Conflict(Error):
    """The object's state does not allow it: running, stopped, in use."""


@_code(6, "busy", 423)
class Busy(Error):
    """Another operation holds the object; try again later."""


@_code(7, "precondition_failed", 412)
class PreconditionFailed(Error):
    """The object changed since it was read (if_match)."""


@_code(8, "too_large", 413)
class TooLarge(Error):
    """Input above a limit."""


@_code(9, "not_supported", 501)
class NotSupported(Error):
    """This host, kernel, driver or object cannot do it."""


@_code(10, "unavailable", 503)
class Unavailable(Error):
    """The host is closed, held by another process, or not reachable."""


@_code(11, "timeout", 504)
class Timeout(Error, TimeoutError):
    """The given time ran out."""


@_code(12, "cancelled", 499)
class Cancelled(Error):
    """The operation was cancelled."""


@_code(13, "no_space", 507)
class NoSpace(Error):
    """No space or quota left on the pool or the store."""


@_code(14, "permission_denied", 401)
class PermissionDenied(Error, PermissionError):
    """The process lacks the privilege: not root, read-only directory."""


@_code(15, "corrupt", 422)
class Corrupt(Error):
    """An image, backup or store is damaged or malformed."""


@_code(16, "internal", 500)
class Internal(Error):
    """A failure that is not the caller's."""


class CommandFailed(Exception):
    """A command run with check=True ended with another exit code than 0."""

    def __init__(self, command: Sequence[str], exit_code: int, stdout: bytes, stderr: bytes) -> None:
        self.command, self.exit_code, self.stdout, self.stderr = list(command), exit_code, stdout, stderr
        tail = stderr.decode(errors="replace").strip()[-500:]
        super().__init__(f"command {self.command} ended with exit code {exit_code}" + (f": {tail}" if tail else ""))


def from_native(code: int, message: str, causes: Sequence[str]) -> Error:
    """Makes the exception of a code; for the compiled half."""
    return _by_code.get(code, Internal)(message, causes)
