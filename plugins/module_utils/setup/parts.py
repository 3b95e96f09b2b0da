# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the set-up, each as its steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import bucket, endpoints, identities, keys, trail
from .documents import Documents
from .steps import REFUSE, Site, Step

PARTS = ["keys", "boundary", "bucket", "roles", "endpoints", "trail"]
SCP = "ebs-scp.json"
LET_GO = 300  # seconds in which interfaces that go let go of their security group


def wanted(site: Site, documents: Documents, part: str, asked: dict[str, Any]) -> Iterator[Step]:
    """The steps of one part."""
    region, store = asked["region"], asked["trail_bucket"] or f"dfir-trail-{site.account}-{asked['region']}"
    days = asked["bucket_lock_days"]
    lock = {"mode": asked["bucket_lock_mode"], "days": days} if days else {}
    if asked["state"] == "absent":
        yield from {
            "keys": lambda: keys.absent(site, asked["keys"], asked["delete_keys"], asked["pending_days"]),
            "boundary": lambda: identities.boundary_absent(site),
            "bucket": lambda: bucket.absent(site, asked["bucket"], region),
            "roles": lambda: identities.roles_absent(site, asked["roles"]),
            "endpoints": lambda: (step for one in asked["regions"] for step in endpoints.absent(site, one, LET_GO)),
            "trail": lambda: trail.absent(site, asked["trail"], store, region),
        }[part]()
        return
    yield from {
        "keys": lambda: keys.present(site, documents, asked["keys"]),
        "boundary": lambda: identities.boundary(site, documents),
        "bucket": lambda: bucket.present(
            site, documents, asked["bucket"], region, tls=asked["bucket_tls"],
            lock=lock,
            key=asked["bucket_kms_key"], abort_days=asked["abort_uploads_days"]),
        "roles": lambda: identities.roles(site, documents, asked["roles"]),
        "endpoints": lambda: (step for one in asked["regions"] for step in endpoints.present(
            site, one, asked["endpoints"], asked["subnet_ids"], asked["subnet_filters"])),
        "trail": lambda: trail.present(site, documents, asked["trail"], store, region),
    }[part]()


def verdict(found: list[Step]) -> str:
    """One sentence about what stands in the way."""
    refused = [f"{step.thing} {step.detail}" for step in found if step.verb == REFUSE]
    return f"Nothing was done: {'; '.join(refused)}." if refused else ""
