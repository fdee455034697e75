# SPDX-License-Identifier: Apache-2.0
"""Background operations."""

from __future__ import annotations

import json
from typing import List, Optional

from . import _native
from ._session import Session
from .errors import NotFound
from .records import OperationInfo, parse


class Operation:
    """A long-running piece of work. Dropping the object does not stop the work. Thread-safe."""

    def __init__(self, native: _native.Operation) -> None:
        self._native = native

    @property
    def id(self) -> str:
        """The UUID."""
        return self._native.id()

    def info(self) -> OperationInfo:
        """Where it stands."""
        return parse(OperationInfo, json.loads(self._native.info()))

    def wait(self, timeout: Optional[float] = None) -> OperationInfo:
        """Blocks until it ended; raises its failure, or Timeout after `timeout` seconds (it goes on then)."""
        return parse(OperationInfo, json.loads(self._native.wait(timeout)))

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._native.done()

    def cancel(self) -> None:
        """Asks it to stop; NotSupported when it cannot."""
        self._native.cancel()

    def __repr__(self) -> str:
        return f"<incus.Operation {self.id}>"


class Operations:
    """The operations of a host (`host.operations`)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def infos(self) -> List[OperationInfo]:
        """All of them as records."""
        return [parse(OperationInfo, one) for one in json.loads(self._session.native.operations()) or ()]

    def list(self) -> List[Operation]:
        """Handles of all of them."""
        found = []
        for one in self.infos():
            try:
                found.append(self.get(one.id))
            except NotFound:
                pass  # ended, and forgotten since it was listed
        return found

    def get(self, id: str) -> Operation:
        """The operation of that id."""
        return Operation(self._session.native.find_operation(id))
