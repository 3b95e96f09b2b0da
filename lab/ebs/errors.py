# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Error answers of EBS direct, as its API reference documents them."""

from __future__ import annotations

import json
import uuid

from lab.contracts import Refused
from lab.http_wire import Response


class EbsError(Exception):
    """One documented exception: HTTP status, its name, a sentence and (where the API has one) the reason."""

    def __init__(self, status: int, code: str, message: str, reason: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message, self.reason = status, code, message, reason

    def response(self) -> Response:
        """The error in REST-JSON."""
        body = {"Message": self.message} | ({"Reason": self.reason} if self.reason else {})
        headers = [
            ("x-amzn-RequestId", str(uuid.uuid4())),
            ("x-amzn-ErrorType", self.code),
            ("Content-Type", "application/json"),
        ]
        return Response(self.status, headers, json.dumps(body).encode())


def invalid(reason: str, message: str) -> EbsError:
    """A ValidationException with one of its documented reasons."""
    return EbsError(400, "ValidationException", message, reason)


def bad_parameter(message: str) -> EbsError:
    """A parameter that is missing, malformed or out of its range."""
    return invalid("INVALID_PARAMETER_VALUE", message)


def not_found(snapshot_id: str) -> EbsError:
    """No such snapshot in this region."""
    return EbsError(
        404, "ResourceNotFoundException", f"The snapshot '{snapshot_id}' does not exist.", "SNAPSHOT_NOT_FOUND"
    )


def account_throttled() -> EbsError:
    """The quota of the account in this region is used up."""
    return EbsError(400, "ThrottlingException", "Rate exceeded")


def snapshot_throttled(snapshot_id: str) -> EbsError:
    """The quota of one snapshot is used up."""
    message = f"The request rate for snapshot '{snapshot_id}' exceeds its limit."
    return EbsError(400, "RequestThrottledException", message, "RESOURCE_LEVEL_THROTTLE")


def from_refused(refused: Refused, reason: str = "UNAUTHORIZED_ACCOUNT") -> EbsError:
    """What the authorizer refused, under the name that EBS direct gives it."""
    code = "AccessDeniedException" if refused.code in ("AccessDenied", "UnauthorizedOperation") else refused.code
    return EbsError(refused.status, code, refused.message, reason if code == "AccessDeniedException" else None)
