# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS knows of an instance, section by section.

Everything here only looks, and what cannot be had is recorded with its error.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

Client = Callable[[str], Any]
# None of these is secret by name; the user data may hold secrets, and lies in the bucket alone.
ATTRIBUTES = ("userData", "instanceInitiatedShutdownBehavior", "disableApiTermination", "disableApiStop")


class Clients:
    """Clients by service and region, made once. Making one is not for two threads at a time; using one is."""

    def __init__(self, make: Callable[[str, str], Any], region: str) -> None:
        self._make, self.region = make, region
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str], Any] = {}

    def __call__(self, service: str, region: str = "") -> Any:
        key = (service, region or self.region)
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(*key)
            return self._made[key]


class Answers:
    """The answers of one section, and the errors of what could not be asked."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.answers: dict[str, Any] = {}
        self.errors: list[dict[str, str]] = []

    def ask(self, service: str, operation: str, key: str = "", **params: Any) -> dict[str, Any]:
        """One look, all pages of it; empty where there was an error.

        :param key: under which the answer is kept, by default the operation's name.
        """
        try:
            client = self._client(service)
            if client.can_paginate(operation):
                answer: dict[str, Any] = client.get_paginator(operation).paginate(**params).build_full_result()
            else:
                answer = getattr(client, operation)(**params)
        except (ClientError, BotoCoreError) as error:
            self.failed(key or operation, error)
            return {}
        answer = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
        self.answers[key or operation] = answer
        return answer

    def failed(self, call: str, error: Exception) -> None:
        """Record an error as AWS put it."""
        told = getattr(error, "response", {}).get("Error", {})
        self.errors.append({"call": call, "code": str(told.get("Code") or type(error).__name__),
                            "message": str(told.get("Message") or error)[:500]})


def _filter(name: str, *values: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]


def _instance(answers: Answers, instance: Mapping[str, Any]) -> None:
    answers.ask("ec2", "describe_instances", InstanceIds=[instance["InstanceId"]])


def _status(answers: Answers, instance: Mapping[str, Any]) -> None:
    answers.ask("ec2", "describe_instance_status", InstanceIds=[instance["InstanceId"]], IncludeAllInstances=True)


def _attributes(answers: Answers, instance: Mapping[str, Any]) -> None:
    for attribute in ATTRIBUTES:
        answers.ask("ec2", "describe_instance_attribute", attribute, InstanceId=instance["InstanceId"],
                    Attribute=attribute)


def _volumes(answers: Answers, instance: Mapping[str, Any]) -> None:
    answers.ask("ec2", "describe_volumes", Filters=_filter("attachment.instance-id", instance["InstanceId"]))


def _interfaces(answers: Answers, instance: Mapping[str, Any]) -> None:
    answers.ask("ec2", "describe_network_interfaces",
                Filters=_filter("attachment.instance-id", instance["InstanceId"]))
    answers.ask("ec2", "describe_addresses", Filters=_filter("instance-id", instance["InstanceId"]))


def _groups(answers: Answers, instance: Mapping[str, Any]) -> None:
    groups = sorted({str(group["GroupId"]) for interface in instance.get("NetworkInterfaces") or []
                     for group in interface.get("Groups") or []}
                    | {str(group["GroupId"]) for group in instance.get("SecurityGroups") or []})
    if groups:
        answers.ask("ec2", "describe_security_groups", GroupIds=groups)
        answers.ask("ec2", "describe_security_group_rules", Filters=_filter("group-id", *groups))


def _network(answers: Answers, instance: Mapping[str, Any]) -> None:
    vpc, subnets = instance.get("VpcId"), subnets_of(instance)
    if vpc:
        answers.ask("ec2", "describe_vpcs", VpcIds=[vpc])
        answers.ask("ec2", "describe_subnets", SubnetIds=subnets)
        # All of the VPC: a subnet without a table of its own follows the main one.
        answers.ask("ec2", "describe_route_tables", Filters=_filter("vpc-id", vpc))
        answers.ask("ec2", "describe_network_acls", Filters=_filter("association.subnet-id", *subnets))


def _flow_logs(answers: Answers, instance: Mapping[str, Any]) -> None:
    watched = [str(instance["VpcId"]), *subnets_of(instance), *interfaces_of(instance)] if instance.get("VpcId") else []
    if watched:
        answers.ask("ec2", "describe_flow_logs", Filters=_filter("resource-id", *watched))


def _image(answers: Answers, instance: Mapping[str, Any]) -> None:
    answers.ask("ec2", "describe_images", ImageIds=[instance["ImageId"]])


def _key_pair(answers: Answers, instance: Mapping[str, Any]) -> None:
    if instance.get("KeyName"):
        answers.ask("ec2", "describe_key_pairs", KeyNames=[instance["KeyName"]])


def _profile(answers: Answers, instance: Mapping[str, Any]) -> None:
    """The instance profile, its role, and all policies of that, as they are now."""
    answers.ask("ec2", "describe_iam_instance_profile_associations",
                Filters=_filter("instance-id", instance["InstanceId"]))
    arn = str((instance.get("IamInstanceProfile") or {}).get("Arn") or "")
    if not arn:
        return
    profile = answers.ask("iam", "get_instance_profile", InstanceProfileName=arn.rpartition("/")[2])
    for role in (profile.get("InstanceProfile") or {}).get("Roles") or []:
        name = str(role["RoleName"])
        answers.ask("iam", "get_role", f"role {name}", RoleName=name)
        inline = answers.ask("iam", "list_role_policies", f"inline policies of {name}", RoleName=name)
        for policy in inline.get("PolicyNames") or []:
            answers.ask("iam", "get_role_policy", f"inline policy {policy}", RoleName=name, PolicyName=policy)
        attached = answers.ask("iam", "list_attached_role_policies", f"attached policies of {name}", RoleName=name)
        for policy in attached.get("AttachedPolicies") or []:
            arn = str(policy["PolicyArn"])
            found = answers.ask("iam", "get_policy", f"policy {arn}", PolicyArn=arn)
            version = (found.get("Policy") or {}).get("DefaultVersionId")
            if version:
                answers.ask("iam", "get_policy_version", f"document of {arn}", PolicyArn=arn, VersionId=version)


def _tags(answers: Answers, instance: Mapping[str, Any]) -> None:
    answers.ask("ec2", "describe_tags", Filters=_filter("resource-id", instance["InstanceId"]))


def _console(answers: Answers, instance: Mapping[str, Any]) -> None:
    """What the serial console shows now; instance types before Nitro have what was kept at the last transition."""
    latest = answers.ask("ec2", "get_console_output", "latest", InstanceId=instance["InstanceId"], Latest=True)
    if not latest:
        answers.ask("ec2", "get_console_output", "kept", InstanceId=instance["InstanceId"])


def _screenshot(answers: Answers, instance: Mapping[str, Any]) -> None:
    # A screen that sleeps stays dark: waking it presses a key on the machine, which changes it.
    answers.ask("ec2", "get_console_screenshot", InstanceId=instance["InstanceId"], WakeUp=False)


def _inventory(answers: Answers, instance: Mapping[str, Any]) -> None:
    """What the agent of Systems Manager reported, if there is one."""
    name = str(instance["InstanceId"])
    answers.ask("ssm", "describe_instance_information", Filters=[{"Key": "InstanceIds", "Values": [name]}])
    answers.ask("ssm", "get_inventory",
                Filters=[{"Key": "AWS:InstanceInformation.InstanceId", "Values": [name], "Type": "Equal"}])
    for kind in ("AWS:Application", "AWS:Network", "AWS:Service"):
        entries = answers.ask("ssm", "list_inventory_entries", kind, InstanceId=name, TypeName=kind)
        if not entries:  # an account without the agent refuses all of them alike
            break


# In this order: what changes soonest comes first.
SECTIONS: dict[str, Callable[[Answers, Mapping[str, Any]], None]] = {
    "instance": _instance, "status": _status, "console": _console, "screenshot": _screenshot,
    "attributes": _attributes, "volumes": _volumes, "interfaces": _interfaces, "security_groups": _groups,
    "network": _network, "flow_logs": _flow_logs, "image": _image, "key_pair": _key_pair, "profile": _profile,
    "tags": _tags, "ssm_inventory": _inventory,
}


def subnets_of(instance: Mapping[str, Any]) -> list[str]:
    """The subnets that the instance has interfaces in."""
    return sorted({str(interface["SubnetId"]) for interface in instance.get("NetworkInterfaces") or []
                   if interface.get("SubnetId")})


def interfaces_of(instance: Mapping[str, Any]) -> list[str]:
    """The ids of its network interfaces."""
    return sorted(str(interface["NetworkInterfaceId"]) for interface in instance.get("NetworkInterfaces") or [])


def plain(value: Any) -> Any:
    """What boto3 gives, as JSON can hold it."""
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(bytes(value)).decode()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
