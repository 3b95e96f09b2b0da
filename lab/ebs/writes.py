# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""StartSnapshot, PutSnapshotBlock and CompleteSnapshot."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from lab.config import ACCOUNT
from lab.contracts import BLOCK_SIZE, SnapshotCatalog
from lab.ebs.access import Access
from lab.ebs.call import Call
from lab.ebs.errors import EbsError, bad_parameter, invalid, not_found
from lab.ebs.snapshot import Snapshot
from lab.ebs.store import SnapshotMissing, Store, WrongState
from lab.http_wire import Response

LARGEST_GIB = 65_536
DEFAULT_TIMEOUT, TIMEOUTS = 60, range(10, 4321)  # minutes
_KEY_ARN = re.compile(r"arn:aws[a-z\-]*:kms:.*:[0-9]{12}:key/.*")
_FIELDS = {
    "VolumeSize", "ParentSnapshotId", "Tags", "Description", "ClientToken", "Encrypted", "KmsKeyArn", "Timeout",
}  # fmt: skip


class Writes:
    """The writing half of the API."""

    def __init__(self, store: Store, access: Access, catalog: SnapshotCatalog) -> None:
        self._store, self._access, self._catalog = store, access, catalog
        self._starting = threading.Lock()  # two starts with one client token must not race

    def start(self, call: Call) -> Response:
        """A pending snapshot; the same one again for the same request with the same client token."""
        wish = _start_wish(call)
        token, account = wish.pop("ClientToken", None), self._access.account(call.request)
        if token is not None and account != ACCOUNT:
            token = f"{account}/{token}"  # a token is its account's; plain ones keep the ids that notes name
        with self._starting:
            known = None if token is None else self._store.recall_start(call.region, token)
            if known is not None and self._catalog.describe(call.region, known["answer"]["SnapshotId"]) is not None:
                if known["wish"] != wish:
                    message = "The request uses the same client token as a previous, but non-identical request."
                    raise EbsError(409, "ConflictException", message)
                return Response.json(known["answer"], 201)
            answer = self._start(call, wish, token, account)
            if token is not None:
                self._store.remember_start(call.region, token, {"wish": wish, "answer": answer})
        return Response.json(answer, 201)

    def _start(self, call: Call, wish: dict[str, Any], token: str | None, account: str) -> dict[str, Any]:
        parent, gib = wish.get("ParentSnapshotId"), wish["VolumeSize"]
        facts: Mapping[str, Any] = {}
        if not self._store.holds(gib):  # asked before the catalog makes an id that nothing would stand behind
            raise invalid("INVALID_VOLUME_SIZE", f"The lab's file system cannot have a file of {gib} GiB.")
        if parent is not None:
            facts = self._parent(call, parent, gib)
        key = wish.get("KmsKeyArn") or facts.get("kms_key")
        tags = {tag["Key"]: tag.get("Value", "") for tag in wish.get("Tags", [])}
        snapshot_id = self._catalog.start(
            call.region,
            gib,
            parent=parent,
            description=wish.get("Description", ""),
            tags=tags,
            encrypted=bool(wish.get("Encrypted") or facts.get("encrypted")),
            kms_key=key,
            client_token=token,
            account=account,
        )
        timeout = wish.get("Timeout", DEFAULT_TIMEOUT) * 60
        self._store.start_snapshot(call.region, snapshot_id, gib, parent=parent, timeout=timeout)
        made = self._access.describe(call.region, snapshot_id, fresh=True) or {}
        answer = {
            "SnapshotId": snapshot_id,
            "OwnerId": made.get("owner"),
            "Status": "pending",
            "StartTime": round(time.time(), 3),
            "VolumeSize": gib,
            "BlockSize": BLOCK_SIZE,
            "Description": wish.get("Description"),
            "Tags": wish.get("Tags"),
            "ParentSnapshotId": parent,
            "KmsKeyArn": key,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def _parent(self, call: Call, parent: str, gib: int) -> Mapping[str, Any]:
        """What the catalog says of the parent, which must be a completed snapshot that the caller may continue."""
        facts = self._access.describe(call.region, parent)
        if facts is None:
            raise not_found(parent)
        self._access.authorize(call.request, f"ebs:{call.action}", f"arn:aws:ec2:{call.region}::snapshot/{parent}")
        if facts["state"] != "completed" or facts.get("public") or facts.get("tier", "standard") == "archive":
            raise invalid("INVALID_SNAPSHOT_ID", f"The parent snapshot '{parent}' cannot be read by EBS direct.")
        try:
            source = self._store.completed(call.region, parent)
        except SnapshotMissing:
            raise not_found(parent) from None
        except WrongState as error:
            raise invalid("INVALID_SNAPSHOT_ID", str(error)) from None
        if gib < source.gib:
            raise invalid("INVALID_VOLUME_SIZE", f"VolumeSize is less than the parent's {source.gib} GiB.")
        return facts

    def put_block(self, call: Call) -> Response:
        """Write one block, if it is what its checksum says."""
        headers = call.request.headers
        if headers.get("x-amz-data-length") != str(BLOCK_SIZE):
            raise bad_parameter(f"The header x-amz-Data-Length must be {BLOCK_SIZE}.")
        if headers.get("x-amz-checksum-algorithm") != "SHA256":
            raise bad_parameter("The header x-amz-Checksum-Algorithm must be SHA256.")
        progress = headers.get("x-amz-progress")
        if progress is not None and not (progress.isdigit() and int(progress) <= 100):
            raise bad_parameter("The header x-amz-Progress must be a number from 0 to 100.")
        snapshot = self._writable(call)
        if call.index >= snapshot.blocks:
            raise invalid("INVALID_BLOCK", f"The snapshot '{call.snapshot}' has no block {call.index}.")
        data = call.request.data()
        if len(data) != BLOCK_SIZE:
            raise bad_parameter(f"The block has {len(data)} bytes instead of {BLOCK_SIZE}.")
        digest = hashlib.sha256(data).digest()
        checksum = base64.b64encode(digest).decode("ascii")
        if headers.get("x-amz-checksum") != checksum:
            raise bad_parameter("The block does not match the header x-amz-Checksum.")
        if not snapshot.put(call.index, data, digest):
            raise _sealed(call.snapshot)
        return Response(201, [("x-amz-Checksum", checksum), ("x-amz-Checksum-Algorithm", "SHA256")])

    def complete(self, call: Call) -> Response:
        """Seal the snapshot, if what was written is what the caller believes to have written."""
        headers = call.request.headers
        count = headers.get("x-amz-changedblockscount", "")
        if not (count.isascii() and count.isdigit()):
            raise bad_parameter("The header x-amz-ChangedBlocksCount must be a whole number.")
        checksum = headers.get("x-amz-checksum")
        algorithm, method = headers.get("x-amz-checksum-algorithm"), headers.get("x-amz-checksum-aggregation-method")
        if algorithm not in (None, "SHA256") or method not in (None, "LINEAR"):
            raise bad_parameter("The checksum must be of algorithm SHA256 and aggregation method LINEAR.")
        if checksum is not None and (algorithm is None or method is None):
            raise bad_parameter("A checksum must come with its algorithm and its aggregation method.")
        snapshot = self._writable(call)
        written, linear = snapshot.uploaded()
        if int(count) != written:
            raise bad_parameter(f"ChangedBlocksCount is {count}, but {written} blocks were written.")
        if checksum is not None and checksum != linear:
            raise bad_parameter("The aggregate checksum does not match the blocks that were written.")
        try:
            self._store.complete_snapshot(call.region, call.snapshot)
        except WrongState:
            raise _sealed(call.snapshot) from None
        self._catalog.complete(call.region, call.snapshot)
        facts = self._access.describe(call.region, call.snapshot, fresh=True) or {}
        return Response.json({"Status": facts.get("state", "completed")}, 202)

    def _writable(self, call: Call) -> Snapshot:
        facts = self._access.describe(call.region, call.snapshot)
        if facts is None:
            raise not_found(call.snapshot)
        try:
            snapshot = self._store.open(call.region, call.snapshot)
        except SnapshotMissing:
            raise not_found(call.snapshot) from None
        if facts["state"] != "pending" or not snapshot.pending:
            raise _sealed(call.snapshot)
        if facts.get("encrypted") and facts.get("kms_key"):
            self._access.authorize(call.request, "kms:GenerateDataKeyWithoutPlaintext", facts["kms_key"])
        if snapshot.timeout is not None and time.time() - snapshot.last_write > snapshot.timeout:
            raise invalid("WRITE_REQUEST_TIMEOUT", f"Nothing was written to '{call.snapshot}' for too long.")
        return snapshot


def _sealed(snapshot_id: str) -> EbsError:
    return invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is not in the pending state.")


def _start_wish(call: Call) -> dict[str, Any]:
    """The checked fields of a StartSnapshot request."""
    try:
        wish = json.loads(call.request.data() or b"null")
    except ValueError:
        wish = None
    if not isinstance(wish, dict) or set(wish) - _FIELDS:
        raise bad_parameter("The body must be a JSON object with the documented fields.")
    gib = wish.get("VolumeSize")
    if isinstance(gib, bool) or not isinstance(gib, int) or not 1 <= gib <= LARGEST_GIB:
        raise invalid("INVALID_VOLUME_SIZE", f"VolumeSize must be a whole number of GiB from 1 to {LARGEST_GIB}.")
    for name, longest in (("Description", 255), ("ClientToken", 255), ("ParentSnapshotId", 64), ("KmsKeyArn", 2048)):
        value = wish.get(name)
        if value is not None and not (isinstance(value, str) and len(value) <= longest):
            raise bad_parameter(f"{name} must be a text of at most {longest} characters.")
    if not isinstance(wish.get("Encrypted", False), bool):
        raise bad_parameter("Encrypted must be true or false.")
    parent = wish.get("ParentSnapshotId")
    if parent is not None and not re.fullmatch(r"snap-[0-9a-f]+", parent):
        raise invalid("INVALID_SNAPSHOT_ID", f"'{parent}' is not a valid snapshot ID.")
    if parent is not None and "Encrypted" in wish:
        raise bad_parameter("ParentSnapshotId and Encrypted cannot be specified together.")
    if wish.get("KmsKeyArn") is not None:
        if not _KEY_ARN.fullmatch(wish["KmsKeyArn"]):
            raise invalid("INVALID_CUSTOMER_KEY", "KmsKeyArn is not the ARN of a KMS key.")
        if not wish.get("Encrypted") and parent is None:
            raise bad_parameter("KmsKeyArn needs Encrypted to be true.")
    timeout = wish.get("Timeout", DEFAULT_TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout not in TIMEOUTS:
        raise bad_parameter("Timeout must be a whole number of minutes from 10 to 4320.")
    _check_tags(wish.get("Tags", []))
    return wish


def _check_tags(tags: Any) -> None:
    if not isinstance(tags, list) or len(tags) > 50:
        raise invalid("INVALID_TAG", "Tags must be a list of at most 50 tags.")
    seen: set[str] = set()
    for tag in tags:
        key, value = (tag.get("Key"), tag.get("Value", "")) if isinstance(tag, dict) else (None, None)
        if not isinstance(key, str) or not 1 <= len(key) <= 127 or not isinstance(value, str) or len(value) > 255:
            raise invalid("INVALID_TAG", "A tag has a Key of 1 to 127 characters and a Value of at most 255.")
        if key.lower().startswith("aws:") or key in seen:
            raise invalid("INVALID_TAG", f"The tag key '{key}' is reserved or given twice.")
        seen.add(key)
