# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One API call, understood: service, region, operation, parameters. Parsed by botocore's own models."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from lab import sigv4
from lab.contracts import Refused

from . import moto_app  # moto_app first: it sets what moto reads while it is imported

# isort: split
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model

XML_ERROR = {"ec2": "ec2", "iam": "query", "sts": "query", "sns": "query", "s3": "rest", "autoscaling": "query",
             "elb": "query", "elbv2": "query"}


@dataclass
class Call:
    """What a client asks for."""

    service: str
    region: str
    method: str
    path: str  # raw
    query: str
    headers: dict[str, str]  # lower case
    body: bytes
    source_ip: str
    secure: bool
    operation: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    signature: sigv4.Signature | None = None

    @property
    def payload_hash(self) -> str:
        """The hash that the signature was made over."""
        if self.signature and self.signature.presigned and self.service == "s3":
            return self.headers.get("x-amz-content-sha256", sigv4.UNSIGNED)
        return self.headers.get("x-amz-content-sha256") or hashlib.sha256(self.body).hexdigest()


def raw_path(environ: Mapping[str, Any]) -> str:
    """The path as it was sent: servers keep it in RAW_URI or REQUEST_URI."""
    raw = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "")
    if raw:
        if raw.startswith(("http://", "https://")):
            raw = "/" + raw.split("/", 3)[3] if raw.count("/") > 2 else "/"
        return raw.split("?", 1)[0]
    return quote(environ.get("PATH_INFO", "/").encode("latin-1"), safe="/-_.~!$&'()*+,;=:@")


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items()
               if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def _body(environ: Mapping[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    stream = environ["wsgi.input"]
    if length:
        data: bytes = stream.read(int(length))
        if len(data) != int(length):
            raise Refused(400, "IncompleteBody", "The body is shorter than Content-Length says.")
        return data
    return stream.read() if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "") else b""


def read(environ: Mapping[str, Any]) -> Call:
    """Read a request fully. Refuses what has no meaning on AWS."""
    headers = _headers(environ)
    query = environ.get("QUERY_STRING", "")
    signature = sigv4.read(headers, query)
    call = Call(
        service=signature.service if signature else "s3", region=signature.region if signature else "us-east-1",
        method=environ["REQUEST_METHOD"], path=raw_path(environ), query=query, headers=headers, body=_body(environ),
        source_ip=environ.get("REMOTE_ADDR", "127.0.0.1"), secure=environ.get("wsgi.url_scheme") == "https",
        signature=signature)
    if call.service == "elasticloadbalancing":
        version = dict(parse_qsl(call.body.decode("utf-8", "replace") or call.query)).get("Version", "")
        call.service = moto_app.LOAD_BALANCING.get(version, call.service)
    if call.service not in (*moto_app.SERVICES, "ebs"):
        raise Refused(400, "LabNotImplemented",
                      f"The lab has no {call.service}; it offers {', '.join((*moto_app.SERVICES, 'ebs'))}.")
    return call


def understand(call: Call, environ: dict[str, Any]) -> None:
    """Fill in operation and parameters."""
    request = Request({**environ, "wsgi.input": io.BytesIO(call.body), "CONTENT_LENGTH": str(len(call.body))})
    model = get_service_model(moto_app.MODEL_NAMES.get(call.service, call.service))
    if call.service == "s3":
        _understand_s3(call, request)
        return
    if "x-amz-target" in call.headers:
        call.operation = call.headers["x-amz-target"].split(".")[-1]
    else:
        fields = dict(parse_qsl(call.body.decode("utf-8", "replace") or call.query, keep_blank_values=True))
        call.operation = fields.get("Action", "")
    try:
        operation = model.operation_model(call.operation)
    except Exception:
        raise Refused(400, "InvalidAction",
                      f"The action {call.operation or '(none)'} is not valid for {call.service}.") from None
    protocol = determine_request_protocol(model, request.content_type)
    parser = PROTOCOL_PARSERS[protocol](operation)
    call.params = dict(parser.parse({
        "method": call.method, "values": request.values, "headers": request.headers, "body": call.body,
        "url_path": request.path, "url_params": {}}) or {})


def _understand_s3(call: Call, request: Any) -> None:
    try:
        operation, uri = get_service_router("s3").match(request)
    except Exception:
        raise Refused(400, "LabNotImplemented",
                      f"The lab does not know this S3 request: {call.method} {call.path}?{call.query}.") from None
    call.operation = operation.name
    bucket, _, key = unquote(call.path).lstrip("/").partition("/")
    query = dict(parse_qsl(call.query, keep_blank_values=True))
    call.params = {**{k: unquote(str(v)) for k, v in uri.items()}, **query}
    if bucket:
        call.params["Bucket"] = bucket
    if key:
        call.params["Key"] = key


def for_moto(call: Call, environ: Mapping[str, Any],
             adapt: Callable[[Call, dict[str, str]], None] | None = None, *, account: str) -> dict[str, Any]:
    """The environment that moto gets: plain body, presigned parameters turned into a header that it understands.

    `adapt` may change header fields. `account` is the one whose models serve the call, whatever the client says.
    """
    out = {name: value for name, value in environ.items() if not name.startswith("HTTP_")}
    headers = dict(call.headers)
    headers.pop("transfer-encoding", None)
    query = call.query
    if call.signature and call.signature.presigned:
        sig = call.signature
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={sig.access_key}/{sig.date}/{sig.region}/"
                                    f"{sig.service}/aws4_request, SignedHeaders=host, Signature={sig.signature}")
        query = urlencode([(k, v) for k, v in parse_qsl(query, keep_blank_values=True)
                           if not k.lower().startswith("x-amz-")])
    elif call.signature is None:
        # The gate has decided that everybody may; moto has rules of its own for unsigned requests, and they are wrong.
        headers["authorization"] = ("AWS4-HMAC-SHA256 Credential=ANONYMOUS00000000000/20260101/us-east-1/s3/"
                                    "aws4_request, SignedHeaders=host, Signature=none")
    if adapt is not None:
        adapt(call, headers)
    headers["x-moto-account-id"] = account
    # moto takes the region from a user agent that names one; only the signature counts.
    headers["user-agent"] = headers.get("user-agent", "").replace("region/", "region-")
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            out[f"HTTP_{key}"] = value
    out["QUERY_STRING"] = query
    out["RAW_URI"] = call.path + (f"?{query}" if query else "")
    out["REQUEST_URI"] = out["RAW_URI"]
    out["wsgi.input"] = io.BytesIO(call.body)
    out["CONTENT_LENGTH"] = str(len(call.body))
    return out
