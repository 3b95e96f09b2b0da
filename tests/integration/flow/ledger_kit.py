# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The custody ledger that a request left."""

from __future__ import annotations

from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.custody import verify
from ansible_collections.dfir.aws.plugins.module_utils.custody.aws import BucketStore
from ansible_collections.dfir.aws.plugins.module_utils.custody.rsa import read_key

from tests.integration.flow.flow_kit import BUCKET, Request, client


def ledger(request: Request) -> list[dict[str, Any]]:
    """The ledger of its incident: it must fit, with its artifacts, and be signed up to its end."""
    key = client(request.lab, "kms").get_public_key(KeyId="alias/dfir-custody")["PublicKey"]
    verdict = verify.verify(BucketStore(client(request.lab, "s3"), BUCKET), request.incident, read_key(key))
    assert verdict.state == "valid", verdict.problem
    return verdict.entries


def history(request: Request) -> list[str]:
    """What the ledger says of the request without its artifacts, in short."""
    return [f"{entry['event'].removeprefix(f'request/{request.id}/')} {entry['result']}" for entry in ledger(request)
            if entry["action"] != "artifact"]
