# SPDX-License-Identifier: Apache-2.0
"""Images and aliases."""

from __future__ import annotations

import json
import os
from typing import Any, List, Literal, Mapping, Optional, Sequence, Union, overload

from ._session import Scope, name_of, part
from .operation import Operation
from .records import ImageAliasInfo, ImageInfo

Path = Union[str, "os.PathLike[str]"]


class Image:
    """An image in the store: a cheap handle that does not prove that the image exists. Thread-safe."""

    def __init__(self, scope: Scope, name: str) -> None:
        self._scope = scope
        self._name = name
        self._path = f"/1.0/images/{part(name)}"

    @property
    def name(self) -> str:
        """Fingerprint, its unique beginning, or an alias, as given."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """The full fingerprint."""
        return self.info().fingerprint

    def info(self) -> ImageInfo:
        """The record (GET /1.0/images/{fingerprint})."""
        return self._scope.session.record(ImageInfo, self._path, self._scope.query)

    def update(self, *, properties: Optional[Mapping[str, str]] = None, public: Optional[bool] = None) -> None:
        """Changes properties (all of them, when given) and whether it is public."""
        session = self._scope.session
        now, etag, _ = session.call("GET", self._path, query=self._scope.query)
        body = {k: now.get(k) for k in ("auto_update", "properties", "public", "expires_at", "profiles")}
        if properties is not None:
            body["properties"] = dict(properties)
        if public is not None:
            body["public"] = public
        session.call("PUT", self._path, body, query=self._scope.query, if_match=etag)

    def export(self, path: Path) -> List[str]:
        """Writes it as it was imported to `path` (and the rootfs of a split image beside it); never replaces a file. The names written."""
        found: List[str] = json.loads(self._scope.session.native.export_image(self._scope.project, self._name, os.fspath(path)))
        return found

    @overload
    def delete(self) -> None: ...
    @overload
    def delete(self, *, wait: Literal[True]) -> None: ...
    @overload
    def delete(self, *, wait: Literal[False]) -> Operation: ...
    def delete(self, *, wait: bool = True) -> Optional[Operation]:
        """Deletes it; instances made from it stay."""
        op = Operation(self._scope.session.begin("DELETE", self._path, query=self._scope.query))
        if not wait:
            return op
        op.wait()
        return None

    def __repr__(self) -> str:
        return f"<incus.Image {self._name!r}>"


class Aliases:
    """Image aliases (`host.images.aliases`)."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def list(self) -> List[ImageAliasInfo]:
        """All of them."""
        return self._scope.session.records(ImageAliasInfo, "/1.0/images/aliases", self._scope.query)

    def get(self, name: str) -> ImageAliasInfo:
        """One of them; NotFound."""
        return self._scope.session.record(ImageAliasInfo, f"/1.0/images/aliases/{part(name)}", self._scope.query)

    def create(self, name: str, fingerprint: str, description: str = "") -> None:
        """Makes `name` stand for an image."""
        body = {"name": name, "target": fingerprint, "description": description}
        self._scope.session.call("POST", "/1.0/images/aliases", body, query=self._scope.query)

    def rename(self, name: str, new_name: str) -> None:
        """Renames one."""
        self._scope.session.call("POST", f"/1.0/images/aliases/{part(name)}", {"name": new_name}, query=self._scope.query)

    def delete(self, name: str) -> None:
        """Deletes one; the image stays."""
        self._scope.session.call("DELETE", f"/1.0/images/aliases/{part(name)}", query=self._scope.query)


class Images:
    """The images of a project (`host.images`)."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.aliases = Aliases(scope)

    def import_file(
        self,
        path: Path,
        rootfs: Optional[Path] = None,
        *,
        alias: str = "",
        aliases: Sequence[str] = (),
        properties: Optional[Mapping[str, str]] = None,
        public: bool = False,
        filename: str = "",
        reuse: bool = False,
    ) -> Operation:
        """Imports a unified image file, a directory with metadata.yaml and rootfs/, or with `rootfs` a split image.

        `reuse` moves aliases that exist already instead of refusing. Call wait() on the result."""
        how: Mapping[str, Any] = {
            "alias": alias,
            "aliases": list(aliases),
            "properties": dict(properties or {}),
            "public": public,
            "filename": filename,
            "reuse": reuse,
        }
        second = None if rootfs is None else os.fspath(rootfs)
        return Operation(self._scope.session.native.import_image(self._scope.project, os.fspath(path), second, json.dumps(how)))

    def get(self, name: str) -> Image:
        """By fingerprint, its unique beginning, or alias; NotFound."""
        image = Image(self._scope, name)
        image.info()
        return image

    def list(self) -> List[Image]:
        """Handles of all of them."""
        return [Image(self._scope, name_of(url)) for url in self._scope.session.get("/1.0/images", self._scope.query) or ()]

    def infos(self) -> List[ImageInfo]:
        """All of them as records, in one call."""
        return self._scope.session.records(ImageInfo, "/1.0/images", self._scope.query)
