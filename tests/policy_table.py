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
ENCRYPTED = "asked by KMS on behalf of EC2, which the lab decides by DescribeKey, CreateGrant and GenerateDataKey"
BROKEN_OFF = "only when an upload is broken off in the middle: the engine's own tests do that, against a stub of S3"
NO_BIN = "the lab has no Recycle Bin"
# Not in every run of .ci/run: it takes a sample of the tests that need a host of their own.
DIRECT = "with evidence_by: direct (tests/integration/flow/test_flow_direct.py, of which each run takes a sample)"
SESSION = "for an analyst's session (tests/integration/flow/test_flow_session.py, of which each run takes a sample)"
CODES = "for volumes with product codes (tests/unit/plugins/test_product_codes.py has a stub of AWS)"
QUOTA = "for accounts that have no quota of their own, and the lab's has one"
DIFFERS = "when a group that is there already has other rules than it should"
NO_REGIONS = "where no regions are set, and the tests set them"
MISPLACED = "when a volume hangs where it should not (tests/unit/plugins/modules has plain moto)"
EGRESS = "where dfir_aws_egress_rules is set, and no host of the lab reaches anything anyway"
TAKEN_UP = "when a run is taken up again (tests/integration/flow/test_flow_host.py, of which each run takes a sample)"
HOSTS = "imaging hosts work in `make test-more` (tests/integration/imaging)"
OF_A_KEY = "for snapshots under a key of the account's (tests/unit/lab/test_ebs_api.py decides on it)"
SCALED_IN = "where its group had protected it from scaling in (tests/unit/plugins/test_containment_parts.py has a stub)"
SHARED = "where snapshots are shared as they are, and their owner locks them (tests/unit/sharing has the plan)"
LOCKED = "only with dfir_aws_custody_retain_days, in a bucket with Object Lock (tests/unit/custody decides on it)"
KEEPS = {"s3:PutObjectRetention": LOCKED, "s3:GetBucketObjectLockConfiguration": LOCKED}
POLICIES: Mapping[str, Belongs] = {
    "acquisition-policy.json": Belongs("role dfir-acquisition", "identity", ("acquire_instance",), KEEPS),
    "analysis-host-boundary.json": Belongs("boundary of hosts' roles", "host", ("analyze_request",), {
        "s3:AbortMultipartUpload": BROKEN_OFF, "ebs:GetSnapshotBlock": DIRECT, "ebs:ListSnapshotBlocks": DIRECT,
        "kms:Decrypt": DIRECT}),
    "analysis-host-policy.json": Belongs("role of each host", "host", ("analyze_request",), {
        "s3:AbortMultipartUpload": BROKEN_OFF}),
    "artifact-bucket-policy.json": Belongs("the artifact bucket", "resource"),
    "artifact-bucket-tls-statement.json": Belongs("the artifact bucket, on AWS", "resource"),
    "containment-policy.json": Belongs("role dfir-containment", "identity", (
        "contain_instance", "release_instance", "acquire_instance"), {
        "autoscaling:SetInstanceProtection": SCALED_IN}),
    "containment-revoke-policy.json": Belongs("role dfir-containment, where sessions are revoked", "identity", (
        "contain_instance", "release_instance")),
    "controller-policy.json": Belongs("role dfir-controller", "identity", CONTROLLER, {
        "ec2:DescribeAvailabilityZones": INVENTORY, "ec2:DescribeSecurityGroupRules": INVENTORY,
        "iam:ListRoleTags": LOOK, "s3:GetBucketLocation": LOOK,
        "kms:Decrypt": ENCRYPTED, "kms:ReEncryptFrom": ENCRYPTED, "kms:ReEncryptTo": ENCRYPTED,
        "ec2:DescribeVolumeAttribute": CODES, "servicequotas:GetAWSDefaultServiceQuota": QUOTA,
        "ec2:DescribeRegions": NO_REGIONS, "iam:ListInstanceProfileTags": LOOK, "iam:GetRolePolicy": TAKEN_UP,
        "ec2:DetachVolume": MISPLACED,
        "ec2:AuthorizeSecurityGroupEgress": EGRESS, "ec2:RevokeSecurityGroupEgress": DIFFERS,
        "ec2:RevokeSecurityGroupIngress": DIFFERS, **KEEPS}),
    "custody-policy.json": Belongs("role dfir-custody", "identity", ("close_case", "verify_case")),
    "ebs-scp.json": Belongs("the organization, attached by its administrators", "organization"),
    "imaging-host-policy.json": Belongs("profile dfir-imaging-host", "host", ("image_snapshots",), {
        "s3:AbortMultipartUpload": BROKEN_OFF, "ebs:GetSnapshotBlock": HOSTS, "ebs:ListSnapshotBlocks": HOSTS,
        "ec2:DescribeSnapshots": HOSTS, "kms:Decrypt": HOSTS, "s3:ListBucket": HOSTS, "s3:GetObject": HOSTS,
        "s3:PutObject": HOSTS}),
    "imaging-policy.json": Belongs("role dfir-imaging", "identity", (
        "image_snapshot", "triage_snapshot", "compare_snapshots"), {
        "s3:AbortMultipartUpload": BROKEN_OFF, "kms:Decrypt": OF_A_KEY, **KEEPS}),
    "key-policy.json": Belongs("keys", "resource"),
    "member-access-policy.json": Belongs("role dfir-acquisition", "identity", ("acquire_instance",)),
    "member-acquisition-policy.json": Belongs("role dfir-acquisition of a member account", "identity", (
        "acquire_instance",)),
    "member-acquisition-trust.json": Belongs("trust in the role dfir-acquisition of a member account", "resource"),
    "member-sharing-policy.json": Belongs("role dfir-acquisition of a member account", "identity", (
        "share_snapshots",), {
        "ec2:LockSnapshot": SHARED, "kms:ReEncryptFrom": ENCRYPTED, "kms:ReEncryptTo": ENCRYPTED}),
    "retention-policy.json": Belongs("role dfir-retention", "identity", ("expire_snapshots",), {
        "ec2:DescribeRegions": NO_REGIONS, "rbin:GetRule": NO_BIN, "rbin:ListRules": NO_BIN}),
    "setup-policy.json": Belongs("an administrator", "identity", ("prepare_account",)),
    "sharing-policy.json": Belongs("role dfir-sharing", "identity", ("share_snapshots",), {
        "kms:ReEncryptFrom": ENCRYPTED, "kms:ReEncryptTo": ENCRYPTED}),
    "toolbox-policy.json": Belongs("role dfir-toolbox", "identity", ("update_toolbox",)),
    "trail-bucket-policy.json": Belongs("the bucket of the trail", "resource"),
}
# Of actions that other statements of the same file give as well, and which are used there
STATEMENTS: Mapping[tuple[str, str], str] = {
    ("AskForRolesThatMayNotExist", "iam:GetInstanceProfile"): "what a removal asks for when somebody else was quicker",
    ("AskForRolesThatMayNotExist", "iam:ListAttachedRolePolicies"): "likewise",
    ("AskForRolesThatMayNotExist", "iam:ListRolePolicies"): "likewise",
    ("LendArtifactsOfACase", "s3:GetObject"): SESSION,
    ("LookAtClaimsAndNoteSummaries", "s3:GetObject"): HOSTS,
    ("LookAtClaimsAndNoteSummaries", "s3:PutObject"): HOSTS,
    ("ProlongOurCopies", "ec2:CreateTags"): "when a copy is used again, much later than it was made",
    ("WriteReports", "s3:GetObject"): "when the same report is written a second time, and compared",
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
