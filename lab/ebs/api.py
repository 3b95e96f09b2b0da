# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EBS direct API: which operation a request asks for, whether it may, and the answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

from lab.contracts import Authorizer, Faults, SnapshotCatalog
from lab.ebs.access import Access
from lab.ebs.call import Call
from lab.ebs.errors import EbsError, account_throttled, invalid, snapshot_throttled
from lab.ebs.reads import Reads
from lab.ebs.settings import EbsSettings
from lab.ebs.store import Store
from lab.ebs.tokens import Tokens
from lab.ebs.writes import Writes
from lab.http_wire import Request, Response

_SNAPSHOT = re.compile(r"snap-[0-9a-f]{1,59}")


class EbsDirect:
    """Answers EBS direct requests. Data comes from `store`, state from `catalog`, permission from `authorizer`.

    The authorizer is asked for `ebs:<Action>` on `arn:aws:ec2:<region>::snapshot/<id>` (`*` for StartSnapshot), and for
    `kms:Decrypt` on the key of an encrypted snapshot that the catalog names.
    """

    def __init__(
        self,
        store: Store,
        catalog: SnapshotCatalog,
        authorizer: Authorizer,
        faults: Faults | None = None,
        settings: EbsSettings | None = None,
    ) -> None:
        self.settings = settings or EbsSettings()
        self._faults = faults
        self._access = Access(authorizer, catalog, self.settings)
        tokens = Tokens(store.secret())
        reads = Reads(store, self._access, tokens, self.settings, faults)
        writes = Writes(store, self._access, catalog)
        self._operations: dict[str, Callable[[Call], Response]] = {
            "GetSnapshotBlock": reads.get_block,
            "ListSnapshotBlocks": reads.list_blocks,
            "ListChangedBlocks": reads.list_changed,
            "StartSnapshot": writes.start,
            "PutSnapshotBlock": writes.put_block,
            "CompleteSnapshot": writes.complete,
        }

    def handle(self, request: Request) -> Response:
        """The answer to one request."""
        try:
            call = self._understand(request)
            self._access.authenticate(request, unsigned_body=call.action == "PutSnapshotBlock")
            if call.snapshot and not _SNAPSHOT.fullmatch(call.snapshot):
                raise invalid("INVALID_SNAPSHOT_ID", f"'{call.snapshot}' is not a valid snapshot ID.")
            resource = f"arn:aws:ec2:{call.region}::snapshot/{call.snapshot or '*'}"
            self._access.authorize(request, f"ebs:{call.action}", resource)
            if (broken := self._break(call)) is not None:
                return broken
            self._access.count(call.action, call.region, call.snapshot)
            response = self._operations[call.action](call)
            # No uuid4(): asking the kernel for each gives the lock of the interpreter away, with many connections.
            name = f"{random.getrandbits(128):032x}"  # noqa: S311  a name, no secret
            name = f"{name[:8]}-{name[8:12]}-4{name[13:16]}-a{name[17:20]}-{name[20:]}"
            response.headers.append(("x-amzn-RequestId", name))
        except EbsError as error:
            return error.response()
        return self._spoil(call, response)

    @staticmethod
    def _understand(request: Request) -> Call:
        words = request.path.split("/")[1:]
        method, action, snapshot, block = request.method, "", "", None
        if words[:1] == ["snapshots"]:
            if len(words) == 4 and words[2] == "blocks":
                action = {"GET": "GetSnapshotBlock", "PUT": "PutSnapshotBlock"}.get(method, "")
                snapshot, block = words[1], words[3]
            elif len(words) == 3 and method == "GET":
                action = {"blocks": "ListSnapshotBlocks", "changedblocks": "ListChangedBlocks"}.get(words[2], "")
                snapshot = words[1]
            elif len(words) == 3 and method == "POST" and words[1] == "completion":
                action, snapshot = "CompleteSnapshot", words[2]
            elif len(words) == 1 and method == "POST":
                action = "StartSnapshot"
        if not action:
            raise EbsError(404, "UnknownOperationException", f"{method} {request.path} is no operation of EBS direct.")
        if request.scope is None:
            raise EbsError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        if block is not None and not (block.isascii() and block.isdigit() and len(block) < 10):
            raise invalid("INVALID_BLOCK", f"'{block}' is not a valid block index.")
        parameters = _parameters(request.query)
        number = None if block is None else int(block)
        return Call(request, action, request.scope.region, unquote(snapshot), number, parameters)

    def _break(self, call: Call) -> Response | None:
        """Armed faults that come instead of an answer."""
        faults = self._faults
        if faults is None:
            return None
        if faults.take("ebs.throttle_account", **call.context):
            raise account_throttled()
        if faults.take("ebs.throttle_snapshot", **call.context):
            raise snapshot_throttled(call.snapshot)
        if fault := faults.take("ebs.error_5xx", **call.context):
            status = int(fault.args.get("status", 500))
            code = {503: "ServiceUnavailable"}.get(status, "InternalServerException")
            raise EbsError(status, code, "An internal error has occurred.")
        return None

    def _spoil(self, call: Call, response: Response) -> Response:
        """Armed faults that hit an answer on its way out."""
        faults = self._faults
        if faults is None:
            return response
        if fault := faults.take("ebs.reset", **call.context):
            response.reset, response.limit = True, int(fault.args.get("after_bytes", 0))
        if fault := faults.take("ebs.truncate", **call.context):
            length = response.body.length if hasattr(response.body, "length") else len(response.body)
            response.limit = min(int(fault.args.get("bytes", length // 2)), max(length - 1, 0))
        if fault := faults.take("ebs.stall", **call.context):
            response.stall = float(fault.args.get("seconds", 30))
            response.stall_after = int(fault.args.get("after_bytes", 0))
        return response


def _parameters(query: str) -> dict[str, str]:
    if "&" in query or ";" in query:
        return dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
    name, _, value = query.partition("=")  # the token of a block, nearly always
    return {unquote(name): unquote(value)} if query else {}
