# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS error answers in the dialect of the service that was asked, so that every SDK recognizes them."""

from __future__ import annotations

import json
import uuid
from xml.sax.saxutils import escape

from lab.contracts import Refused
from lab.http_wire import Request, Response

_THROTTLED = {"ec2": (503, "RequestLimitExceeded"), "s3": (503, "SlowDown")}
_XML = [("Content-Type", "text/xml; charset=utf-8")]


def service_of(request: Request) -> str:
    """The service that a request is for; S3 when it is unsigned (that is what moto assumes, too)."""
    return request.scope.service if request.scope else "s3"


def action_of(request: Request) -> str | None:
    """The API action, where the request names it (all but REST services such as S3)."""
    target = request.headers.get("x-amz-target")
    if target:
        return str(target).rpartition(".")[2]
    if service_of(request) == "s3":
        return None
    return request.form().get("Action")


def aws_error(request: Request, status: int, code: str, message: str) -> Response:
    """An error answer as the asked service would write it."""
    number = str(uuid.uuid4())
    ids = [("x-amzn-RequestId", number)]
    service = service_of(request)
    if service == "s3":
        # S3 answers HEAD without a body; the front drops it there.
        resource = f"<Resource>{escape(request.path)}</Resource>"
        body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{resource}"
        body += f"<RequestId>{number}</RequestId></Error>"
        return Response(status, [("Content-Type", "application/xml"), ("x-amz-request-id", number)], _xml(body))
    if service == "ec2":
        body = f"<Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
        return Response(status, _XML + ids, _xml(f"<Response>{body}<RequestID>{number}</RequestID></Response>"))
    if "x-amz-target" in request.headers or service in ("ebs", "elasticfilesystem", "lambda"):
        kind = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", code)]
        return Response(status, kind + ids, json.dumps({"__type": code, "message": message}).encode())
    fault = "Sender" if status < 500 else "Receiver"
    body = f"<Error><Type>{fault}</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(status, _XML + ids, _xml(f"<ErrorResponse>{body}<RequestId>{number}</RequestId></ErrorResponse>"))


def refusal(request: Request, refused: Refused) -> Response:
    """A `Refused` as the answer that the asked service would give."""
    return aws_error(request, refused.status, refused.code, refused.message)


def throttled(request: Request) -> Response:
    """The throttling error of the asked service."""
    default = "ThrottlingException" if "x-amz-target" in request.headers else "Throttling"
    status, code = _THROTTLED.get(service_of(request), (400, default))
    return aws_error(request, status, code, "Rate exceeded: an armed fault of the lab throttled this call.")


def _xml(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()
