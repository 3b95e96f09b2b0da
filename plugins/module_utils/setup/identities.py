# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identities: the boundary of hosts' roles, and a role for each kind of work with its policies and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .documents import INLINE_MOST, MANAGED_MOST, Documents, short, trust
from .steps import (
    CREATE,
    KEEP,
    REFUSE,
    REMOVE,
    STAY,
    TAG,
    TAG_VALUE,
    SetupError,
    Site,
    Step,
    managed,
    our_tags,
    same,
    tags_of,
    unless,
)

BOUNDARY, BOUNDARY_FILE, PATH = "dfir-analysis-host-boundary", "analysis-host-boundary.json", "/dfir/"
NONE = ("NoSuchEntity",)
VERSIONS_MOST = 5


def boundary(site: Site, documents: Documents) -> Iterator[Step]:
    """The managed policy inside which every host's role lies."""
    iam, document = site.client("iam", ""), documents.read(BOUNDARY_FILE)
    if len(short(document)) > MANAGED_MOST:
        raise SetupError(f"{BOUNDARY_FILE} has {len(short(document))} characters, and a managed policy {MANAGED_MOST}.")
    arn, thing = site.iam("policy", BOUNDARY, PATH), f"boundary {PATH}{BOUNDARY}"
    found = unless(NONE, lambda: iam.get_policy(PolicyArn=arn))
    if found is None:
        yield Step("boundary", thing, CREATE, act=lambda: iam.create_policy(
            PolicyName=BOUNDARY, Path=PATH, PolicyDocument=short(document), Tags=our_tags(),
            Description="What a role of an analysis host may do at most"))
        return
    version = iam.get_policy_version(PolicyArn=arn, VersionId=found["Policy"]["DefaultVersionId"])["PolicyVersion"]

    def change() -> None:
        versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
        old = sorted((v for v in versions if not v["IsDefaultVersion"]), key=lambda v: v["CreateDate"])
        if len(versions) >= VERSIONS_MOST:
            iam.delete_policy_version(PolicyArn=arn, VersionId=old[0]["VersionId"])
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=short(document), SetAsDefault=True)

    yield managed(site, "boundary", thing, TAG in tags_of(found["Policy"].get("Tags")),
                  [] if same(version["Document"], document) else ["another text"],
                  lambda: iam.tag_policy(PolicyArn=arn, Tags=our_tags()), change,
                  how=f"aws iam tag-policy --policy-arn {arn} --tags Key={TAG},Value={TAG_VALUE}")


def boundary_absent(site: Site) -> Iterator[Step]:
    """It goes when no role of a host is left."""
    iam, arn, thing = site.client("iam", ""), site.iam("policy", BOUNDARY, PATH), f"boundary {PATH}{BOUNDARY}"
    found = unless(NONE, lambda: iam.get_policy(PolicyArn=arn))
    if found is None:
        yield Step("boundary", thing, KEEP, "is not there")
    elif TAG not in tags_of(found["Policy"].get("Tags")):
        yield Step("boundary", thing, STAY, f"not ours: no tag {TAG}")
    elif hosts := [role["RoleName"] for page in iam.get_paginator("list_roles").paginate(PathPrefix=PATH)
                   for role in page["Roles"]]:
        yield Step("boundary", thing, STAY, f"roles of hosts lie inside it: {', '.join(hosts)}")
    else:
        def remove() -> None:
            for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
                if not version["IsDefaultVersion"]:
                    iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
            iam.delete_policy(PolicyArn=arn)

        yield Step("boundary", thing, REMOVE, act=remove)


def _inline(documents: Documents, wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A role's inline policies by their names."""
    found = {f"dfir-{Path(name).stem.removeprefix('dfir-').removesuffix('-policy')}": documents.read(name)
             for name in wanted["policies"]}
    size = sum(len(short(document)) for document in found.values())
    if size > INLINE_MOST:
        raise SetupError(f"The policies of the role {wanted['name']} have {size} characters together, and a role's "
                         f"inline policies may have {INLINE_MOST}: give some of them to a role of their own.")
    return found


def checked(roles: Sequence[Mapping[str, Any]]) -> None:
    """Refuse roles that could not work."""
    for role in roles:
        if not role["service"] and not role["principals"]:
            raise SetupError(f"Nobody may assume the role {role['name']}: name users or roles in "
                             "account_setup_principals, or in the principals of the role.")
        if role["name"].startswith("/") or "/" in role["name"]:
            raise SetupError(f"The role {role['name']} must not lie below a path: the bucket policy keeps what lies "
                             "below /dfir/ from writing records.")


def roles(site: Site, documents: Documents, wanted: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    """The roles as they should be."""
    checked(wanted)
    for role in wanted:
        yield _role(site, site.client("iam", ""), documents, role)


def _role(site: Site, iam: Any, documents: Documents, wanted: Mapping[str, Any]) -> Step:
    name, thing = wanted["name"], f"role {wanted['name']}"
    inline = _inline(documents, wanted)
    admits = trust(wanted["principals"], wanted["conditions"], wanted["service"])
    profile = bool(wanted["service"] == "ec2.amazonaws.com")

    def put(names: Sequence[str]) -> None:
        for policy in names:
            iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=short(inline[policy]))

    def give_profile() -> None:
        if unless(NONE, lambda: iam.get_instance_profile(InstanceProfileName=name)) is None:
            iam.create_instance_profile(InstanceProfileName=name, Tags=our_tags())
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)

    found = _role_of(iam, name)
    if found is None:
        def create() -> None:
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=short(admits), Tags=our_tags(),
                            Description=wanted["description"], MaxSessionDuration=wanted["session_hours"] * 3600)
            put(list(inline))
            if profile:
                give_profile()

        return Step("roles", thing, CREATE, f"with {', '.join(wanted['policies'])}", act=create)
    role = found["Role"]
    if role["Path"] != "/":
        return Step("roles", thing, REFUSE, f"lies below {role['Path']}, which the bucket policy keeps from records")
    has = {policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
           for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]}
    wrong = [policy for policy, text in inline.items() if policy not in has or not same(has[policy], text)]
    surplus = [policy for policy in has if policy not in inline and policy.startswith("dfir-")]
    differs = [*(f"policy {policy}" for policy in wrong), *(f"surplus policy {policy}" for policy in surplus)]
    if not same(role["AssumeRolePolicyDocument"], admits):
        differs.append("who may assume it")
    if role["MaxSessionDuration"] != wanted["session_hours"] * 3600:
        differs.append("length of sessions")
    if profile and not iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]:
        differs.append("no instance profile")

    def change() -> None:
        put(wrong)
        for policy in surplus:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        if "who may assume it" in differs:
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=short(admits))
        if "length of sessions" in differs:
            iam.update_role(RoleName=name, MaxSessionDuration=wanted["session_hours"] * 3600)
        if "no instance profile" in differs:
            give_profile()

    return managed(site, "roles", thing, TAG in tags_of(role.get("Tags")), differs,
                   lambda: iam.tag_role(RoleName=name, Tags=our_tags()), change,
                   how=f"aws iam tag-role --role-name {name} --tags Key={TAG},Value={TAG_VALUE}")


def roles_absent(site: Site, wanted: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    """The roles that are ours go, with their policies and instance profiles."""
    iam = site.client("iam", "")
    for role in wanted:
        name, thing = role["name"], f"role {role['name']}"
        found = _role_of(iam, name)
        if found is None:
            yield Step("roles", thing, KEEP, "is not there")
        elif TAG not in tags_of(found["Role"].get("Tags")):
            yield Step("roles", thing, STAY, f"not ours: no tag {TAG}")
        else:
            yield Step("roles", thing, REMOVE, act=_removal(iam, name))


def _role_of(iam: Any, name: str) -> Any:
    return unless(NONE, lambda: iam.get_role(RoleName=name))


def _removal(iam: Any, name: str) -> Any:
    def remove() -> None:
        for profile in iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]:
            iam.remove_role_from_instance_profile(InstanceProfileName=profile["InstanceProfileName"], RoleName=name)
            if profile["InstanceProfileName"] == name:
                iam.delete_instance_profile(InstanceProfileName=name)
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=name)

    return remove
