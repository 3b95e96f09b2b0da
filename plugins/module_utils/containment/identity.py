# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity: the instance profile off, and, when asked for, the sessions of its role that exist already revoked.

Taking the profile off ends the metadata service's supply. What it has given out stays valid until it expires, wherever
it was carried. Revoking is a policy on the role that denies all to sessions issued before a moment, and so hits every
user of the role (IAM User Guide, "Revoke IAM role temporary security credentials").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from ..request_spec import iso, parse_iso
from .base import ContainmentError, Hands, Item, Step, Wishes, code_of, item, pages, state_of

LONGEST = timedelta(hours=12)  # no session of a role lives longer (STS, DurationSeconds of AssumeRole)


def association_of(hands: Hands, instance_id: str) -> dict[str, Any] | None:
    """The association of an instance with a profile."""
    found = pages(hands("ec2"), "describe_iam_instance_profile_associations", "IamInstanceProfileAssociations",
                  Filters=[{"Name": "instance-id", "Values": [instance_id]}])
    return next((one for one in found if one.get("State") in ("associating", "associated")), None)


class InstanceProfile(Step):
    """No more credentials from the metadata service."""

    name, title = "instance_profile", "Instance profile off"

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """None or one."""
        found = association_of(hands, instance["InstanceId"])
        arn = str(found["IamInstanceProfile"]["Arn"]) if found else ""
        return [item(arn, {"profile": arn}, f"{arn} disassociated", f"{arn} associated")] if arn else []

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Disassociate what is associated."""
        found = association_of(hands, instance["InstanceId"])
        if found and found["IamInstanceProfile"]["Arn"] == item["key"]:
            hands.do(item["does"], "ec2", "disassociate_iam_instance_profile", AssociationId=found["AssociationId"])

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """Associate it again."""
        found = association_of(hands, instance["InstanceId"])
        if found and found["IamInstanceProfile"]["Arn"] != item["key"]:
            return f"{item['key']}: somebody has associated {found['IamInstanceProfile']['Arn']} meanwhile"
        if not found:
            try:
                hands("iam").get_instance_profile(InstanceProfileName=item["key"].rpartition("/")[2])
            except Exception as error:
                if code_of(error) != "NoSuchEntity":
                    raise
                return f"{item['key']} is not there any more"
            hands.do(item["undone"], "ec2", "associate_iam_instance_profile", InstanceId=instance["InstanceId"],
                     IamInstanceProfile={"Arn": item["key"]})
        return ""


class RoleSessions(Step):
    """Opt-in: sessions of the role that exist are denied everything."""

    name, title, bound = "role_sessions", "Sessions of the role revoked", False

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """One item a role of the profile, with all its users."""
        if not wishes.revoke_sessions:
            return []
        found, out = association_of(hands, instance["InstanceId"]), []
        # The profile may be off already, and its sessions alive.
        arns = {str(one["key"]) for one in wishes.recorded.get(InstanceProfile.name, [])}
        arns |= {str(found["IamInstanceProfile"]["Arn"])} if found else set()
        known = {one["key"] for one in wishes.recorded.get(self.name, [])}
        for name in sorted({role for arn in arns for role in _roles(hands, arn)} - known):
            policy = policy_name(instance["InstanceId"])
            if _policy(hands, name, policy) is not None:
                raise ContainmentError(f"The role {name} has a policy {policy} that no record speaks of: look at it, "
                                       "and remove it before sessions are revoked.")
            out.append(item(name, {"policy": None}, f"all sessions of the role {name} that exist now are denied "
                            f"everything, by its policy {policy}", f"the policy {policy} of the role {name} removed",
                            policy=policy, users=users(hands, name, instance["InstanceId"])))
        return out

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Put the policy, once. Its moment is AWS' own."""
        there = _policy(hands, item["key"], item["policy"])
        if there is not None and not item.get("renew"):
            item["before"] = there["Statement"][0]["Condition"]["DateLessThan"]["aws:TokenIssueTime"]
            return
        before = iso(_aws_now(hands, item["key"]))
        hands.do(item["does"], "iam", "put_role_policy", RoleName=item["key"], PolicyName=item["policy"],
                 PolicyDocument=json.dumps(document(before)))
        item.update(before=before, renew=False)

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """Take the policy away once no session that it stops can live: earlier, stolen ones would be valid again."""
        there = _policy(hands, item["key"], item["policy"])
        if there is None:
            return ""
        before = str(there["Statement"][0]["Condition"]["DateLessThan"]["aws:TokenIssueTime"])
        until = parse_iso(before) + LONGEST
        if hands.now() < until:
            item["until"] = iso(until)
            return (f"the policy {item['policy']} of the role {item['key']} stays until {iso(until)}: without it, "
                    "revoked sessions that have not expired would be valid again. Release again after that")
        item["until"] = ""
        hands.do(item["undone"], "iam", "delete_role_policy", RoleName=item["key"], PolicyName=item["policy"])
        return ""


def policy_name(instance_id: str) -> str:
    """The inline policy that revokes for an instance."""
    return f"dfir-containment-{instance_id}"


def document(before: str) -> dict[str, Any]:
    """It denies everything to sessions issued before a moment (UTC, ISO 8601)."""
    return {"Version": "2012-10-17", "Statement": [{
        "Sid": "SessionsIssuedBefore", "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": before}}}]}


def users(hands: Hands, role: str, instance_id: str) -> list[str]:
    """Who else uses a role, a sentence each: whoever revokes its sessions hits all of them."""
    iam, out = hands("iam"), []
    about = iam.get_role(RoleName=role)["Role"]
    last = about.get("RoleLastUsed") or {}
    if last.get("LastUsedDate"):
        out.append(f"last used {last['LastUsedDate']:%Y-%m-%d %H:%M} UTC in {last.get('Region', 'an unknown region')}")
    trust = about.get("AssumeRolePolicyDocument") or {}
    statements = trust.get("Statement") or []
    for statement in [statements] if isinstance(statements, Mapping) else statements:
        principal = statement.get("Principal") or {}
        named = {"": principal} if isinstance(principal, str) else principal
        for value in named.values():
            out += [f"may be assumed by {one}" for one in ([value] if isinstance(value, str) else value)
                    if statement.get("Effect") == "Allow"]
    profiles = [str(one["Arn"]) for one in pages(iam, "list_instance_profiles_for_role", "InstanceProfiles",
                                                 RoleName=role)]
    others = [one for group in pages(
        hands("ec2"), "describe_instances", "Reservations",
        Filters=[{"Name": "iam-instance-profile.arn", "Values": profiles}]) for one in group["Instances"]] \
        if profiles else []
    out += [f"instance {one['InstanceId']} ({state_of(one)}) of this region" for one in others
            if one["InstanceId"] != instance_id and state_of(one) not in ("terminated", "shutting-down")]
    return [*out, "instances of other regions with the same profile are not looked for"]


def _roles(hands: Hands, arn: str) -> list[str]:
    try:
        profile = hands("iam").get_instance_profile(InstanceProfileName=arn.rpartition("/")[2])["InstanceProfile"]
    except Exception as error:
        if code_of(error) != "NoSuchEntity":
            raise
        return []
    return [str(role["RoleName"]) for role in profile["Roles"]]


def _policy(hands: Hands, role: str, name: str) -> dict[str, Any] | None:
    try:
        found = hands("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    except Exception as error:
        if code_of(error) != "NoSuchEntity":
            raise
        return None
    if found != document(str(found["Statement"][0].get("Condition", {}).get("DateLessThan", {}).get(
            "aws:TokenIssueTime", ""))):
        raise ContainmentError(f"The policy {name} of the role {role} is none that a containment puts: look at it.")
    return dict(found)


def _aws_now(hands: Hands, role: str) -> datetime:
    """The next second of AWS' own time: by a controller's clock that is behind, sessions would slip through."""
    headers = hands("iam").get_role(RoleName=role)["ResponseMetadata"].get("HTTPHeaders") or {}
    told = parsedate_to_datetime(headers["date"]) if headers.get("date") else hands.now()
    return told + timedelta(seconds=1)
