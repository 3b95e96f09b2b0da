# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge from the front's requests to a WSGI application (moto)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from lab.http_wire import Request, Response

# moto reads this key to give S3 metadata names back as they were sent; WSGI alone folds `_` and `-` into one.
_PRESERVED = "moto.preserved_header_names"


def environ_of(request: Request) -> dict[str, Any]:
    """The WSGI environment of a request. `RAW_URI` carries the target undecoded: S3 keys may hold `%2F`."""
    headers = request.headers
    environ: dict[str, Any] = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": request.body,
        "wsgi.input_terminated": True,  # our stream ends by itself, also when the request was chunked
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "SERVER_SOFTWARE": "dfir-lab",
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "REQUEST_URI": request.target,
        "RAW_URI": request.target,
        "REMOTE_ADDR": request.peer[0],
        "REMOTE_PORT": request.peer[1],
        "SERVER_NAME": request.local[0] or "localhost",
        "SERVER_PORT": str(request.local[1]),
        "SERVER_PROTOCOL": request.version,
    }
    preserved: dict[str, str] = {}
    for name, value in headers.pairs:
        if "_" in name:
            # `X_Amz_Date` must not pass for `X-Amz-Date`; only S3's own metadata may hold underscores.
            if not name.lower().startswith("x-amz-meta-") or name.replace("_", "-") in headers:
                continue
            preserved["HTTP_" + name.upper().replace("-", "_")] = name
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ[_PRESERVED] = preserved
    environ.setdefault("HTTP_HOST", f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}")
    if request.method in ("PUT", "POST") and not headers.get("transfer-encoding"):
        environ.setdefault("CONTENT_LENGTH", "0")
    return environ


def call(app: Callable[..., Iterable[bytes]], request: Request) -> Response:
    """Ask the application. A body that the application yields piece by piece is sent as it comes."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info and written:
            raise exc_info[1].with_traceback(exc_info[2])
        started[:] = [(status, list(headers))]
        return written.append

    result = app(environ_of(request), start_response)
    pieces = iter(result)
    first = b""
    for first in pieces:  # an application may call start_response as late as with its first piece
        if first:
            break
    if not started:
        raise RuntimeError("the application answered without a status")
    status, headers = started[0]
    code, _, reason = status.partition(" ")
    body: Any
    if isinstance(result, (list, tuple)) and len(result) <= 1 and not written:
        body = first
    else:
        body = _Pieces([*written, first], pieces, getattr(result, "close", None))
    return Response(int(code), headers, body, reason=reason)


class _Pieces:
    """What an application yields, the pieces already taken first; closes the application's iterable at the end."""

    def __init__(self, taken: list[bytes], rest: Iterator[bytes], close: Callable[[], None] | None) -> None:
        self._taken, self._rest, self._close = taken, rest, close

    def __iter__(self) -> Iterator[bytes]:
        yield from self._taken
        yield from self._rest

    def close(self) -> None:
        if self._close is not None:
            self._close()
