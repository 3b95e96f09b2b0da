# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that moto answers as if something had happened, though nothing did. The lab says so instead."""

from __future__ import annotations

from lab.contracts import Refused

from . import memberships
from .calls import Call

ENTRIES = "of network ACLs it is enforced only whether one has rules, a new one has none"
SSM = {
    "AddTagsToResource", "DeleteParameter", "DeleteParameters", "DescribeParameters", "GetParameter",
    "GetParameterHistory", "GetParameters", "GetParametersByPath", "LabelParameterVersion", "ListTagsForResource",
    "PutParameter", "RemoveTagsFromResource", "UnlabelParameterVersion",
}
EC2 = {
    "CopyImage": "images here are no disks", "CreateImage": "images here are no disks",
    "BundleInstance": "images here are no disks", "CreateFleet": "only RunInstances starts hosts",
    "CreateFlowLogs": "no traffic is recorded", "CreateReplaceRootVolumeTask": "a host's own disk is a folder",
    "DescribeFastSnapshotRestores": "there is no fast restore",
    "DescribeVolumeStatus": "volume checks do not run", "DisableFastSnapshotRestores": "there is no fast restore",
    "EnableFastSnapshotRestores": "there is no fast restore", "EnableVolumeIO": "volume checks do not run",
    "ExportImage": "images here are no disks", "GetConsoleScreenshot": "hosts have no screen",
    "GetPasswordData": "there are no Windows hosts", "ImportImage": "images here are no disks",
    "ImportSnapshot": "upload by EBS direct instead",
    "ModifyVolume": "volumes do not grow", "RequestSpotFleet": "only RunInstances starts hosts",
    "RequestSpotInstances": "only RunInstances starts hosts", "RunScheduledInstances": "only RunInstances starts hosts",
    "CreateVpcPeeringConnection": "hosts share one network", "CreateNetworkAclEntry": ENTRIES,
    "AllocateAddress": "hosts have no public address",
    "AssociateAddress": "hosts have no public address", "SendDiagnosticInterrupt": "hosts have no kernel of their own",
    "MonitorInstances": "nothing is measured", "CreateNatGateway": "hosts reach nothing outside",
    "DeleteNetworkAclEntry": ENTRIES, "ReplaceNetworkAclEntry": ENTRIES,
    "ModifySnapshotTier": "nothing is archived", "RestoreSnapshotTier": "nothing is archived",
}
IAM = {
    "SimulateCustomPolicy": "ask for real: policies are enforced",
    "SimulatePrincipalPolicy": "ask for real: policies are enforced",
    "GenerateServiceLastAccessedDetails": "accesses are not recorded",
    "GetServiceLastAccessedDetails": "accesses are not recorded",
}
STS = {
    "AssumeRoleWithSAML": "there is no identity provider", "AssumeRoleWithWebIdentity": "there is no identity provider",
    "GetFederationToken": "federated sessions are not checked", "GetSessionToken": "use the user's keys",
}
# Trails are kept with what they are to record; GetTrailStatus says that nothing is delivered.
CLOUDTRAIL = {
    "AddTags", "CreateTrail", "DeleteTrail", "DescribeTrails", "GetEventSelectors", "GetTrail", "GetTrailStatus",
    "ListTags", "ListTrails", "LookupEvents", "PutEventSelectors", "RemoveTags", "StartLogging", "StopLogging",
    "UpdateTrail",
}
SNS = {"Publish": "topics deliver nowhere", "PublishBatch": "topics deliver nowhere"}


def check(call: Call) -> None:
    """Refuse loudly what would be a lie."""
    memberships.check(call)
    if call.service == "ssm" and call.operation not in SSM:
        raise _lie(call, "its Systems Manager has parameters only, no agent runs on the hosts")
    if call.service == "cloudtrail" and call.operation not in CLOUDTRAIL:
        raise _lie(call, "it has the event history and the settings of trails only")
    for service, table in (("ec2", EC2), ("iam", IAM), ("sts", STS), ("sns", SNS)):
        if call.service == service and call.operation in table:
            raise _lie(call, table[call.operation])
    if call.service == "ec2" and call.operation == "RunInstances" and call.params.get("InstanceMarketOptions"):
        raise _lie(call, "there is no spot market")


def _lie(call: Call, why: str) -> Refused:
    return Refused(400, "LabNotImplemented", f"The lab does not do {call.service}:{call.operation} ({why}).")


def unfinished(call: Call, error: BaseException) -> Refused:
    """What moto itself does not implement."""
    text = " ".join(str(error).split())[:200]
    return Refused(400, "LabNotImplemented", f"The lab does not do {call.service}:{call.operation} as asked: {text}")
