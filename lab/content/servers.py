# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's hosts install from: a flat Debian package source, and an image registry (the read side of the OCI
distribution protocol) over image layouts on disk."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from lab.content.cache import BuildError, hold
from lab.http_small import SmallHandler, SmallServer

MANIFEST_PATH = re.compile(r"/v2/(?P<name>[a-z0-9][a-z0-9._/-]*)/manifests/(?P<reference>[A-Za-z0-9_.:-]+)")
BLOB_PATH = re.compile(r"/v2/(?P<name>[a-z0-9][a-z0-9._/-]*)/blobs/sha256:(?P<digest>[0-9a-f]{64})")
TAGS_PATH = re.compile(r"/v2/(?P<name>[a-z0-9][a-z0-9._/-]*)/tags/list")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class FileHandler(SmallHandler):
    """Answers GET and HEAD with files and small texts; nothing can be written."""

    def do_GET(self) -> None:
        self.respond(self.path.partition("?")[0])

    do_HEAD = do_GET

    def respond(self, path: str) -> None:
        """Answer a request for `path`."""
        raise NotImplementedError

    def send_file(self, path: Path, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a file, by the kernel's own copying."""
        try:
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            self.send_text(404, "not found\n")
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            self.send_head(200, content_type, size, headers)
            if self.command == "GET":
                self.wfile.flush()
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.connection.sendfile(file)

    def send_text(self, status: int, text: str, content_type: str = "text/plain",
                  headers: Mapping[str, str] | None = None) -> None:
        """Answer with a text."""
        body = text.encode()
        self.send_head(status, content_type, len(body), headers)
        if self.command == "GET":
            self.wfile.write(body)


class PackageServer(SmallServer):
    """Serves a flat package source, `deb [trusted=yes] http://198.51.100.1:8080/debian ./`, and a folder of wheels,
    `pip install --no-index --find-links http://198.51.100.1:8080/wheels/`."""

    def __init__(self, debian: Path, wheels: Path | None = None) -> None:
        class Handler(FileHandler):
            def respond(self, path: str) -> None:
                place, _, name = unquote(path).removeprefix("/").partition("/")
                folder, name = {"debian": debian, "wheels": wheels}.get(place), name.removeprefix("./")
                if folder is None or "/" in name:
                    self.send_text(404, "not found\n")
                elif place == "wheels" and not name:
                    self.send_text(200, _links(folder), "text/html")
                else:
                    self.send_file(folder / name, "application/octet-stream")

        super().__init__(Handler)


def _links(folder: Path) -> str:
    """A page with a link to each wheel, as pip's `--find-links` reads it."""
    names = sorted(path.name for path in folder.glob("*.whl"))
    lines = "".join(f'<a href="{quote(name)}">{name}</a><br>\n' for name in names)
    return f"<!DOCTYPE html>\n<html><body>\n{lines}</body></html>\n"


class RegistryServer(SmallServer):
    """Serves container images read-only. `publish` adds one; it may be called while the server runs."""

    def __init__(self) -> None:
        registry = self
        self._layouts: dict[tuple[str, str], tuple[Path, str]] = {}  # (name, tag) -> layout folder, manifest digest

        class Handler(FileHandler):
            def respond(self, path: str) -> None:
                registry._respond(self, path)

        super().__init__(Handler)

    def publish(self, layout: Path, name: str, tag: str) -> None:
        """Serve the image in an OCI layout folder as `198.51.100.1:5000/<name>:<tag>`."""
        try:
            index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
            digest = index["manifests"][0]["digest"]
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise BuildError(f"{layout} is no OCI image layout (index.json: {error})") from error
        hold(layout.parent)  # the cache may not give it up while it is served
        self._layouts[name, tag] = (layout, digest)

    def _respond(self, request: FileHandler, path: str) -> None:
        version = {"Docker-Distribution-Api-Version": "registry/2.0"}
        if path in ("/v2", "/v2/"):
            request.send_text(200, "{}", "application/json", version)
        elif match := MANIFEST_PATH.fullmatch(path):
            self._send_manifest(request, match["name"], match["reference"])
        elif match := BLOB_PATH.fullmatch(path):
            folders = {layout for (name, _), (layout, _) in self._layouts.items() if name == match["name"]}
            blob = next((file for folder in folders if (file := _blob(folder, match["digest"])).is_file()), None)
            if blob is None:
                _refuse(request, "BLOB_UNKNOWN")
            else:
                request.send_file(blob, "application/octet-stream",
                                  {**version, "Docker-Content-Digest": f"sha256:{match['digest']}"})
        elif match := TAGS_PATH.fullmatch(path):
            tags = sorted(tag for name, tag in self._layouts if name == match["name"])
            request.send_text(200, json.dumps({"name": match["name"], "tags": tags}), "application/json", version)
        else:
            _refuse(request, "UNSUPPORTED")

    def _send_manifest(self, request: FileHandler, name: str, reference: str) -> None:
        found = self._layouts.get((name, reference))
        if found is None and DIGEST.fullmatch(reference):
            found = next(((layout, reference) for (known, _), (layout, digest) in self._layouts.items()
                          if known == name and digest == reference), None)
        if found is None:
            _refuse(request, "MANIFEST_UNKNOWN")
            return
        layout, digest = found
        manifest = _blob(layout, digest.removeprefix("sha256:"))
        kind = json.loads(manifest.read_bytes()).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        request.send_file(manifest, kind, {"Docker-Content-Digest": digest,
                                           "Docker-Distribution-Api-Version": "registry/2.0"})


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest


def _refuse(request: FileHandler, code: str) -> None:
    request.send_text(404, json.dumps({"errors": [{"code": code, "message": "not served by the lab's registry"}]}),
                      "application/json")
