# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What retention asks AWS: copies, page after page, what holds them, and whether a Recycle Bin takes in what goes."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Any

from . import prices
from .record_store import ABSENT, listed, read
from .resources import is_absent
from .retention import SOURCE, SOURCE_REGION, Cases, Facts
from .waits import code_of

PAGE = 500  # snapshots a call; AWS gives 1,000 at most
VALUES = 100  # of a filter; AWS takes 200 at most
READERS = 8  # records are many and small
WINDOW = 64  # of them at a time in memory
LOCKED = ("compliance", "governance", "compliance-cooloff")
PUBLIC = "everybody (it is public)"
BIN_DAYS = 14


def cases(s3: Any, bucket: str) -> Cases:
    """What all records say, read a few at a time and kept in a few words each."""
    found = Cases()
    keys = (key for key, _changed in listed(s3, bucket))
    with ThreadPoolExecutor(READERS) as pool:
        while window := list(islice(keys, WINDOW)):
            for key, record in zip(window, pool.map(lambda key: _read(s3, bucket, key), window), strict=True):
                try:
                    found.add(record or {})
                except (ValueError, KeyError, TypeError):
                    found.unreadable.append(key)
    return found


def _read(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """A record; None where it is none, and where it went since it was listed, which no record does by itself."""
    try:
        return read(s3, bucket, key)
    except Exception as error:
        if code_of(error) in ABSENT:
            return None
        raise


def copies(ec2: Any) -> Iterator[Mapping[str, Any]]:
    """The account's snapshots of a region that carry the tag of a copy, one page in memory at a time."""
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], Filters=[{"Name": "tag-key", "Values": [SOURCE]}], PaginationConfig={"PageSize": PAGE})
    for page in pages:
        yield from page["Snapshots"]


def facts(ec2: Any, ids: Sequence[str]) -> Facts:
    """What holds snapshots of one region."""
    return Facts(images(ec2, ids), locks(ec2, set(ids)), {name: shared_with(ec2, name) for name in ids})


def images(ec2: Any, ids: Iterable[str]) -> dict[str, list[str]]:
    """The registered images of the account that use each snapshot, deprecated and disabled ones included."""
    found: dict[str, list[str]] = {}
    rest = iter(ids)
    while some := list(islice(rest, VALUES)):
        pages = ec2.get_paginator("describe_images").paginate(
            Owners=["self"], IncludeDeprecated=True, IncludeDisabled=True,
            Filters=[{"Name": "block-device-mapping.snapshot-id", "Values": some}])
        for page in pages:
            for image in page["Images"]:
                for device in image.get("BlockDeviceMappings") or []:
                    snapshot = (device.get("Ebs") or {}).get("SnapshotId")
                    if snapshot in some:
                        found.setdefault(snapshot, []).append(str(image["ImageId"]))
    return found


def locks(ec2: Any, ids: Collection[str]) -> dict[str, str]:
    """Which of these are locked, and how. A lock that has expired holds nothing."""
    found: dict[str, str] = {}
    more: dict[str, str] = {}
    while ids:
        page = ec2.describe_locked_snapshots(MaxResults=200, **more)
        for item in page.get("Snapshots") or []:
            if item["SnapshotId"] in ids and item.get("LockState") in LOCKED:
                until = item.get("LockExpiresOn")
                end = f" until {until:%Y-%m-%d}" if isinstance(until, datetime) else ""
                found[item["SnapshotId"]] = f"{item['LockState']}{end}"
        if not page.get("NextToken"):
            break
        more = {"NextToken": page["NextToken"]}
    return found


def shared_with(ec2: Any, snapshot_id: str) -> list[str]:
    """The accounts that may use a snapshot, beside its owner."""
    try:
        answer = ec2.describe_snapshot_attribute(SnapshotId=snapshot_id, Attribute="createVolumePermission")
    except Exception as error:
        if is_absent(error):  # it went meanwhile, and the last look before a removal will say so
            return []
        raise
    given = answer.get("CreateVolumePermissions") or []
    return sorted(f"the account {item['UserId']}" if item.get("UserId") else PUBLIC for item in given)


def recycle_bin(rbin: Any, region: str, source_regions: Iterable[str], days: int = BIN_DAYS) -> dict[str, str]:
    """Whether a retention rule of a region takes in copies that are deleted there, and the command that makes one.

    A rule by tags takes those with one of its pairs of key and value. Of a copy's tags only the region of its source
    has values that are known beforehand.
    """
    wanted = sorted(set(source_regions))
    tags = [f"ResourceTagKey={SOURCE_REGION},ResourceTagValue={value}" for value in wanted]
    command = " ".join(shlex.quote(word) for word in (
        "aws", "rbin", "create-rule", "--region", region, "--resource-type", "EBS_SNAPSHOT", "--retention-period",
        f"RetentionPeriodValue={days},RetentionPeriodUnit=DAYS", "--description", "Copies of snapshots that expired",
        "--resource-tags", *tags))
    try:
        covered = _covered(rbin, wanted)
    except Exception as error:
        why = " ".join(str(error).split())
        return {"region": region, "state": "not checkable", "reason": why, "command": command}
    return {"region": region, "state": "covered" if covered else "missing", "reason": covered, "command": command}


def _covered(rbin: Any, source_regions: Collection[str]) -> str:
    """The rules that take in all copies from these regions; empty when they do not."""
    by_tag: dict[str, str] = {}
    for page in rbin.get_paginator("list_rules").paginate(ResourceType="EBS_SNAPSHOT"):
        for summary in page.get("Rules") or []:
            rule = rbin.get_rule(Identifier=summary["Identifier"])
            if rule.get("Status") != "available":
                continue
            if not rule.get("ResourceTags"):
                if not any(tag["ResourceTagKey"].startswith("dfir:") for tag in rule.get("ExcludeResourceTags") or []):
                    return str(summary["Identifier"])
                continue
            for tag in rule["ResourceTags"]:
                if tag["ResourceTagKey"] == SOURCE_REGION:
                    by_tag[str(tag.get("ResourceTagValue") or "")] = str(summary["Identifier"])
    return ", ".join(sorted(set(by_tag.values()))) if source_regions and set(source_regions) <= set(by_tag) else ""


def savings(rows: Iterable[Mapping[str, Any]], tables: Any) -> dict[str, Any]:
    """What the storage of these costs a month, in US dollars: at most so much is saved.

    Snapshots are incremental: what others need of one stays, and is paid on. `usd` is None where a price is missing.
    """
    known = prices.checked(tables)
    usd, stand_in, unpriced, sources = 0.0, set(), set(), set()
    for row in rows:
        price = prices.find(known, "snapshot", row["region"])
        if price is None:
            unpriced.add(row["region"])
            continue
        usd += row["gib"] * price.usd
        sources.add(f"{price.as_of}, {price.source}")
        if price.stand_in:
            stand_in.add(row["region"])
    return {"usd_at_most": None if unpriced else round(usd, 2), "currency": "USD", "stand_in": sorted(stand_in),
            "unpriced": sorted(unpriced), "prices": sorted(sources)}
