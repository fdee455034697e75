# SPDX-License-Identifier: Apache-2.0
"""What the objects of one host share: the compiled session, and calls as Python values."""

from __future__ import annotations

import json
from typing import Any, List, Mapping, Optional, Tuple, Type, TypeVar
from urllib.parse import quote, unquote, urlencode

from . import _native, records

T = TypeVar("T")


class Session:
    """One open host."""

    def __init__(self, native: _native.Host) -> None:
        self.native = native

    def call(
        self, method: str, path: str, body: Any = None, *, query: Optional[Mapping[str, str]] = None, if_match: str = ""
    ) -> Tuple[Any, str, Optional[_native.Operation]]:
        """(metadata, etag, operation) of a call."""
        if query:
            path += ("&" if "?" in path else "?") + urlencode(query, quote_via=quote)
        text = None if body is None else json.dumps(body)
        reply, etag, op = self.native.perform(method, path, text, if_match or None)
        return json.loads(reply) if reply else None, etag, op

    def get(self, path: str, query: Optional[Mapping[str, str]] = None) -> Any:
        return self.call("GET", path, query=query)[0]

    def record(self, cls: Type[T], path: str, query: Optional[Mapping[str, str]] = None) -> T:
        return records.parse(cls, self.get(path, query) or {})

    def records(self, cls: Type[T], path: str, query: Optional[Mapping[str, str]] = None, recursion: int = 1) -> List[T]:
        found = self.get(path, {**(query or {}), "recursion": str(recursion)})
        return [records.parse(cls, one) for one in found or ()]

    def names(self, path: str, query: Optional[Mapping[str, str]] = None) -> List[str]:
        return [name_of(url) for url in self.get(path, query) or ()]

    def begin(self, method: str, path: str, body: Any = None, *, query: Optional[Mapping[str, str]] = None, if_match: str = "") -> _native.Operation:
        op = self.call(method, path, body, query=query, if_match=if_match)[2]
        assert op is not None, f"{method} {path} is asynchronous"
        return op


def part(name: str) -> str:
    """A name as one component of a path."""
    return quote(name, safe="")


def name_of(url: str) -> str:
    """The name at the end of an object's URL."""
    return unquote(url.split("?", 1)[0].rsplit("/", 1)[-1])


class Scope:
    """A session and a project: what collections and handles carry."""

    def __init__(self, session: Session, project: str) -> None:
        self.session = session
        self.project = project

    @property
    def query(self) -> Mapping[str, str]:
        return {} if self.project == "default" else {"project": self.project}
