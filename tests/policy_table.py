# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every policy file of docs/iam: whose it is, for which playbooks, and which of its actions no test can use, and why.

A new file needs a line here, so that nobody forgets to say who gets it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kit import CHECKOUT

FOLDER = CHECKOUT / "docs" / "iam"
CONTROLLER = ("analyze_request", "answer_event", "answer_request", "check_account", "close_request", "follow_requests",
              "image_snapshot", "image_snapshots", "reap_resources", "refuse_event", "renew_artifact_urls",
              "show_request", "summarize_images", "triage_snapshot", "compare_snapshots")


@dataclass(frozen=True)
class Belongs:
    """What a policy file is.

    :ivar kind: `identity`; `host` for roles of hosts; `resource` for buckets and keys; `organization`.
    :ivar playbooks: which of them run under it, perhaps beside another.
    :ivar unused: actions that no test uses, each with the reason.
    """

    whose: str
    kind: str
    playbooks: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)


INVENTORY = "for the dynamic inventory (inventories/aws/dfir.aws_ec2.yml), which asks real accounts only"
LOOK = "for people who look around"
# The lab has keys without policies of their own and no other account.
ENCRYPTED = "asked by KMS on behalf of EC2, which the lab decides by DescribeKey, CreateGrant and GenerateDataKey"
POLICIES: Mapping[str, Belongs] = {
    "acquisition-policy.json": Belongs("role dfir-acquisition", "identity", ("acquire_instance",)),
    "analysis-host-boundary.json": Belongs("boundary of hosts' roles", "host", ("analyze_request",)),
    "analysis-host-policy.json": Belongs("role of each host", "host", ("analyze_request",)),
    "artifact-bucket-policy.json": Belongs("the artifact bucket", "resource"),
    "artifact-bucket-tls-statement.json": Belongs("the artifact bucket, on AWS", "resource"),
    "controller-policy.json": Belongs("role dfir-controller", "identity", CONTROLLER, {
        "ec2:DescribeAvailabilityZones": INVENTORY, "ec2:DescribeSecurityGroupRules": INVENTORY,
        "iam:ListRoleTags": LOOK, "s3:GetBucketLocation": LOOK,
        "kms:Decrypt": ENCRYPTED, "kms:ReEncryptFrom": ENCRYPTED, "kms:ReEncryptTo": ENCRYPTED}),
    "custody-policy.json": Belongs("role dfir-custody", "identity", ("close_case", "verify_case")),
    "ebs-scp.json": Belongs("the organization, attached by its administrators", "organization"),
    "imaging-host-policy.json": Belongs("profile dfir-imaging-host", "host", ("image_snapshots",)),
    "imaging-policy.json": Belongs("role dfir-imaging", "identity", (
        "image_snapshot", "triage_snapshot", "compare_snapshots")),
    "key-policy.json": Belongs("keys", "resource"),
    "retention-policy.json": Belongs("role dfir-retention", "identity", ("expire_snapshots",)),
    "setup-policy.json": Belongs("an administrator", "identity", ("prepare_account",)),
    "toolbox-policy.json": Belongs("role dfir-toolbox", "identity", ("update_toolbox",)),
    "trail-bucket-policy.json": Belongs("the bucket of the trail", "resource"),
}


def document(name: str) -> dict[str, Any]:
    """A policy file as it is; a file of one statement as a policy."""
    loaded: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return loaded if "Statement" in loaded else {"Statement": [loaded]}


def actions(name: str) -> Iterator[tuple[str, str]]:
    """Each action of a file with the name of its statement."""
    for statement in document(name)["Statement"]:
        listed = statement["Action"]
        yield from ((statement["Sid"], action) for action in ([listed] if isinstance(listed, str) else listed))
