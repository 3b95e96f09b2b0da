# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an account can read a snapshot, found out with that account's own credentials, and what exactly was found
out."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from ..waits import code_of
from .find import Reach, described
from .words import OPEN, aws_said, refusal

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

PAGES = 1_000  # a page may be empty and still not be the last one (pitfall 1)


def read(reach: Reach, snapshot_id: str, account: str, region: str, key: str) -> tuple[bool, str]:
    """Whether it can be read, and the words for it.

    :param key: the ARN of the key that it is encrypted under; empty when it is not.
    """
    who = f"account {account} ({reach.principal(account)})"
    try:
        found = described(reach.client("ec2", account, region), snapshot_id)
    except (ClientError, BotoCoreError) as error:
        return False, f"{who} could not look for {snapshot_id} in {region}: {aws_said(error)}"
    if not found:
        return False, f"{who} does not see {snapshot_id} in {region}: it is not shared with it, or was deleted."
    try:
        return _block(reach.client("ebs", account, region), snapshot_id, who)
    except (ClientError, BotoCoreError) as error:
        said = aws_said(error)
        if key and _about_key(error):
            return False, f"{refusal(OPEN, key, account)} ({said})"
        return _dry(reach, snapshot_id, account, region, key, f"{who} sees {snapshot_id}; no block of it was read "
                                                              f"({said})")


def _about_key(error: Exception) -> bool:
    return code_of(error) in ("AccessDeniedException", "ValidationException") and "kms" in str(error).lower()


def _block(ebs: Any, snapshot_id: str, who: str) -> tuple[bool, str]:
    token: dict[str, str] = {}
    for _ in range(PAGES):
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot_id, MaxResults=100, **token)
        if page.get("Blocks"):
            first = page["Blocks"][0]
            got = ebs.get_snapshot_block(SnapshotId=snapshot_id, BlockIndex=first["BlockIndex"],
                                         BlockToken=first["BlockToken"])
            data = got["BlockData"].read()
            digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
            if got.get("ChecksumAlgorithm") != "SHA256" or digest != got.get("Checksum"):
                return False, (f"{who} read block {first['BlockIndex']} of {snapshot_id}, and its checksum is not the "
                               "one that AWS gives: run it again.")
            return True, (f"verified: {who} sees {snapshot_id} and has read block {first['BlockIndex']} of it, "
                          f"{len(data)} bytes, SHA-256 as AWS gives it")
        if not page.get("NextToken"):
            return True, (f"verified: {who} sees {snapshot_id} and has listed its blocks; none was ever written, so "
                          "there was none to read")
        token = {"NextToken": page["NextToken"]}
    return False, f"{who} sees {snapshot_id}, and its list of blocks does not end."


def _dry(reach: Reach, snapshot_id: str, account: str, region: str, key: str, sees: str) -> tuple[bool, str]:
    """Without EBS direct: may it be copied? That says nothing of a key, which is asked only afterwards."""
    try:
        reach.client("ec2", account, region).copy_snapshot(SourceSnapshotId=snapshot_id, SourceRegion=region,
                                                           DryRun=True)
    except (ClientError, BotoCoreError) as error:
        if code_of(error) != "DryRunOperation":
            return False, f"{sees}, and a dry run of CopySnapshot was refused: {aws_said(error)}"
    if key:
        return False, (f"{sees}. A dry run of CopySnapshot was answered with yes, which does not ask the key {key}: "
                       "whether it can be read is NOT verified. Allow ebs:ListSnapshotBlocks and ebs:GetSnapshotBlock.")
    return True, f"verified: {sees}; it is not encrypted, and a dry run of CopySnapshot was answered with yes"
