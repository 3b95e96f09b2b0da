# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GetSnapshotBlock, ListSnapshotBlocks and ListChangedBlocks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from lab.contracts import BLOCK_SIZE, Faults
from lab.ebs import listing
from lab.ebs.access import Access
from lab.ebs.call import Call
from lab.ebs.errors import bad_parameter, invalid, not_found
from lab.ebs.settings import EbsSettings
from lab.ebs.snapshot import Snapshot
from lab.ebs.store import SnapshotMissing, Store
from lab.ebs.tokens import BadToken, ExpiredToken, Position, Tokens
from lab.http_wire import Response

FEWEST, MOST = 100, 10_000  # of MaxResults
LAST_INDEX = 2**31 - 1


class Reads:
    """The reading half of the API."""

    def __init__(
        self, store: Store, access: Access, tokens: Tokens, settings: EbsSettings, faults: Faults | None
    ) -> None:
        self._store, self._access, self._tokens = store, access, tokens
        self._settings, self._faults = settings, faults

    def get_block(self, call: Call) -> Response:
        """One block, its checksum with it."""
        token = call.parameters.get("blockToken")
        if not token:
            raise bad_parameter("The parameter blockToken is required.")
        snapshot = self._readable(call, call.snapshot)[0]
        index = call.index
        if index >= snapshot.blocks:
            raise invalid("INVALID_BLOCK", f"The snapshot '{call.snapshot}' has no block {index}.")
        try:
            self._tokens.check_block(token, call.region, call.snapshot, index, time.time())
            if self._faults is not None and self._faults.take("ebs.expired_token", **call.context):
                raise ExpiredToken
        except BadToken:
            raise invalid("INVALID_BLOCK_TOKEN", "The block token is not valid for this block.") from None
        except ExpiredToken:
            raise invalid("INVALID_BLOCK_TOKEN", "The block token has expired.") from None
        if not snapshot.has(index):
            raise invalid("INVALID_BLOCK", f"Block {index} of '{call.snapshot}' was never written.")
        body: Any = snapshot.block(index)
        headers = [
            ("x-amz-Data-Length", "524288"),
            ("x-amz-Checksum", snapshot.checksum(index)),
            ("x-amz-Checksum-Algorithm", "SHA256"),
            ("Content-Type", "application/octet-stream"),
        ]
        if self._faults is not None and (fault := self._faults.take("ebs.corrupt", **call.context)):
            body = bytearray(snapshot.read(index))
            body[int(fault.args.get("offset", 0)) % BLOCK_SIZE] ^= 0xFF
        return Response(200, headers, body)

    def list_blocks(self, call: Call) -> Response:
        """A page of the written blocks of a snapshot."""
        name = f"ListSnapshotBlocks:{call.region}:{call.snapshot}"
        position, most = self._place(call, name)
        snapshot, _ = self._readable(call, call.snapshot)
        size, pretend = listing.page_size(self._settings, name, position, most)
        page, following = listing.take(snapshot.written(position.index), size)
        if following is None and pretend:
            following = snapshot.blocks  # a last page with nothing on it
        expires = time.time() + self._settings.block_token_seconds
        token = self._tokens.for_listing(call.region, call.snapshot, expires)
        entries = [f'{{"BlockIndex":{index},"BlockToken":"{token(index)}"}}' for index in page]
        return self._page("Blocks", entries, snapshot.gib, expires, self._next(name, position, following))

    def list_changed(self, call: Call) -> Response:
        """A page of the blocks that differ between two snapshots of one lineage."""
        first_id = call.parameters.get("firstSnapshotId")
        if not first_id:
            raise bad_parameter("FirstSnapshotId and SecondSnapshotId must be specified together.")
        name = f"ListChangedBlocks:{call.region}:{first_id}:{call.snapshot}"
        position, most = self._place(call, name)
        second, second_facts = self._readable(call, call.snapshot)
        self._access.authorize(call.request, f"ebs:{call.action}", f"arn:aws:ec2:{call.region}::snapshot/{first_id}")
        first, first_facts = self._readable(call, first_id)
        lineage = second_facts.get("lineage")
        if not lineage or lineage != first_facts.get("lineage"):
            raise invalid("UNRELATED_SNAPSHOTS", f"'{first_id}' and '{call.snapshot}' are not of one lineage.")
        size, pretend = listing.page_size(self._settings, name, position, most)
        expires = time.time() + self._settings.block_token_seconds
        one = self._tokens.for_listing(call.region, first_id, expires)
        two = self._tokens.for_listing(call.region, call.snapshot, expires)
        entries: list[str] = []
        following: int | None = second.blocks if pretend else None
        for change in listing.changed(first, second, position.index):
            if isinstance(change, int) or len(entries) == size:
                following = change if isinstance(change, int) else change.index
                break
            entry: dict[str, Any] = {"BlockIndex": change.index}
            if change.first:
                entry["FirstBlockToken"] = one(change.index)
            if change.second:
                entry["SecondBlockToken"] = two(change.index)
            entries.append(json.dumps(entry))
        return self._page("ChangedBlocks", entries, second.gib, expires, self._next(name, position, following))

    def _place(self, call: Call, name: str) -> tuple[Position, int]:
        """Where the page begins and how many blocks the caller takes."""
        most = call.number("maxResults", MOST, FEWEST, MOST)
        token = call.parameters.get("pageToken")
        if not token:
            return Position(call.number("startingBlockIndex", 0, 0, LAST_INDEX), 0), most
        try:
            position = self._tokens.check_page(token, name, time.time())
            if self._faults is not None and self._faults.take("ebs.expired_token", **call.context):
                raise ExpiredToken
        except BadToken:
            raise invalid("INVALID_PAGE_TOKEN", "The page token is not valid for this listing.") from None
        except ExpiredToken:
            raise invalid("INVALID_PAGE_TOKEN", "The page token has expired.") from None
        return position, most

    def _next(self, name: str, position: Position, following: int | None) -> str | None:
        if following is None:
            return None
        expires = time.time() + self._settings.list_token_seconds
        return self._tokens.page(name, Position(following, position.page + 1), expires)

    @staticmethod
    def _page(kind: str, entries: list[str], gib: int, expires: float, following: str | None) -> Response:
        rest = {"ExpiryTime": round(expires, 3), "VolumeSize": gib, "BlockSize": BLOCK_SIZE, "NextToken": following}
        # Ten thousand entries a page: joining their text costs a fifth of encoding them as objects.
        body = f'{{"{kind}":[{",".join(entries)}],{json.dumps(rest)[1:]}'
        return Response(200, [("Content-Type", "application/json")], body.encode())

    def _readable(self, call: Call, snapshot_id: str) -> tuple[Snapshot, Mapping[str, Any]]:
        """The snapshot, if it can be read at all by this API and by this caller."""
        facts = self._access.describe(call.region, snapshot_id)
        if facts is None:
            raise not_found(snapshot_id)
        if facts.get("public"):
            raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is public: copy it first.")
        if facts.get("tier", "standard") == "archive":
            raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is archived: restore it first.")
        if facts["state"] != "completed":
            raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is in state {facts['state']}.")
        if facts.get("encrypted") and facts.get("kms_key"):
            self._access.authorize(call.request, "kms:Decrypt", facts["kms_key"])
        try:
            return self._store.completed(call.region, snapshot_id), facts
        except SnapshotMissing:
            raise not_found(snapshot_id) from None
