# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Marketplace product codes: a volume that carries one cannot be attached to a running host (pitfall 24).

AWS shows the codes of a snapshot to its owner alone. Those of a volume are shown to whoever made the volume, so that
a foreign snapshot's are seen once there is a volume, before it is attached.
"""

from __future__ import annotations

from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # whoever has a client has botocore
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]


def of_snapshot(ec2: Any, snapshot_id: str) -> list[str] | None:
    """The codes of a snapshot; None where they are not shown to us."""
    return _asked(ec2.describe_snapshot_attribute, SnapshotId=snapshot_id)


def of_volume(ec2: Any, volume_id: str) -> list[str] | None:
    """The codes of a volume; None where they are not shown to us."""
    return _asked(ec2.describe_volume_attribute, VolumeId=volume_id)


def _asked(call: Any, **which: str) -> list[str] | None:
    try:
        answer = call(Attribute="productCodes", **which)
    except (BotoCoreError, ClientError):  # not ours, no right to ask, or gone meanwhile: AttachVolume itself will tell
        return None
    return sorted(str(item["ProductCodeId"]) for item in answer.get("ProductCodes") or [])


def refusal(what: str, codes: list[str]) -> str:
    """Why it cannot be analyzed on a host, and what can be done; `what` is as in "Snapshot snap-1"."""
    return (f"{what} carries the AWS Marketplace product code {', '.join(codes)}: AWS attaches its volumes to stopped "
            "instances of that product only, and not to a running analysis host. Ask with evidence_by=direct: an empty "
            "volume, which has no code, is filled with its blocks. Or take an image of it, which attaches nothing "
            "(playbooks/image_snapshot.yml).")
