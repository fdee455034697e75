# SPDX-License-Identifier: Apache-2.0
"""Events."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Callable, Iterator, Optional, Type

from . import _native
from .records import Event, parse


class EventListener:
    """A subscription with a bounded queue: iterate over it, or call next(). A context manager; thread-safe.

    When it is not read often enough the oldest events are dropped and overflowed() tells so: then list again what you watch."""

    def __init__(self, native: _native.Listener, host_closed: Callable[[], bool]) -> None:
        self._native = native
        self._closed = False
        self._host_closed = host_closed

    def next(self, timeout: float) -> Optional[Event]:
        """The next event, or None when `timeout` seconds passed or the listener or its host was closed."""
        text = self._native.next(timeout)
        return None if text is None else parse(Event, json.loads(text))

    def __iter__(self) -> Iterator[Event]:
        """Events until the listener or its host is closed."""
        while True:
            over = self._closed or self._host_closed()
            event = self.next(0.5)
            if event is not None:
                yield event
            elif over:
                return

    def overflowed(self) -> bool:
        """Whether events were dropped since this was last asked."""
        return self._native.overflowed()

    def close(self) -> None:
        """Ends the subscription; idempotent."""
        self._closed = True
        self._native.close()

    def __enter__(self) -> EventListener:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()
