# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys: one that encrypts volumes and copies in each analysis region, and one that signs ledgers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .documents import Documents, short
from .steps import (
    CHANGE,
    CREATE,
    KEEP,
    REFUSE,
    REMOVE,
    STAY,
    TAG,
    TAG_VALUE,
    Site,
    Step,
    managed,
    our_tags,
    same,
    tags_of,
    unless,
)

PART, POLICY = "keys", "key-policy.json"
ALIAS_TAG = "dfir:alias"  # an interrupted run has made a key, and no alias yet
MONTHLY, USE = 1.0, "0.03 for 10,000 requests"
SPECS = {"encrypt": ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"), "sign": ("SIGN_VERIFY", "RSA_3072")}
GONE = ("NotFoundException",)


def _tags(kms: Any, key: str) -> dict[str, str]:
    return tags_of(kms.list_resource_tags(KeyId=key)["Tags"], "TagKey", "TagValue")


def _describe(kms: Any, key: str) -> dict[str, Any] | None:
    told = unless(GONE, lambda: kms.describe_key(KeyId=key))
    return None if told is None else dict(told["KeyMetadata"])


def _without_alias(kms: Any, alias: str) -> dict[str, Any] | None:
    """The key that an interrupted run made for an alias."""
    named = {item.get("TargetKeyId") for page in kms.get_paginator("list_aliases").paginate()
             for item in page["Aliases"]}
    for page in kms.get_paginator("list_keys").paginate():
        for item in page["Keys"]:
            if item["KeyId"] not in named:
                key = _describe(kms, item["KeyId"])
                if key and key["KeyState"] == "Enabled" and key.get("KeyManager") != "AWS" and \
                        _tags(kms, key["KeyId"]).get(ALIAS_TAG) == alias:
                    return key
    return None


def _finish(kms: Any, alias: str, key: str, rotates: bool) -> None:
    if rotates:
        kms.enable_key_rotation(KeyId=key)
    kms.create_alias(AliasName=alias, TargetKeyId=key)


def present(site: Site, documents: Documents, keys: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    """The keys as they should be."""
    policy = documents.read(POLICY)
    for wanted in keys:
        for region in wanted["regions"]:
            yield _present(site, site.client("kms", region), wanted, region, policy)


def _present(site: Site, kms: Any, wanted: Mapping[str, Any], region: str, policy: Mapping[str, Any]) -> Step:
    alias, thing = wanted["alias"], f"key {wanted['alias']} in {region}"
    usage, spec = SPECS[wanted["usage"]]
    rotates = wanted["usage"] == "encrypt"
    key = _describe(kms, alias)
    if key is None:
        orphan = _without_alias(kms, alias)
        if orphan is not None:
            return Step(PART, thing, CHANGE, "without its alias", MONTHLY, USE,
                        lambda: _finish(kms, alias, orphan["KeyId"], rotates))

        def create() -> None:
            made = kms.create_key(
                Description=wanted["description"], KeyUsage=usage, KeySpec=spec, Policy=short(policy),
                Tags=our_tags("TagKey", "TagValue", **{ALIAS_TAG: alias}))["KeyMetadata"]["KeyId"]
            _finish(kms, alias, made, rotates)

        return Step(PART, thing, CREATE, "", MONTHLY, USE, create)
    name = key["KeyId"]
    if key["KeyUsage"] != usage or key["KeyState"] != "Enabled":
        return Step(PART, thing, REFUSE, f"is a key for {key['KeyUsage']} in state {key['KeyState']}: point the alias "
                                         f"to another key, or take another alias")
    differs = []
    if not same(kms.get_key_policy(KeyId=name, PolicyName="default")["Policy"], policy):
        differs.append("its policy")
    if rotates and not kms.get_key_rotation_status(KeyId=name)["KeyRotationEnabled"]:
        differs.append("no rotation")

    def change() -> None:
        if "its policy" in differs:
            kms.put_key_policy(KeyId=name, PolicyName="default", Policy=short(policy))
        if "no rotation" in differs:
            kms.enable_key_rotation(KeyId=name)

    return managed(site, PART, thing, TAG in _tags(kms, name), differs,
                   lambda: kms.tag_resource(KeyId=name, Tags=our_tags("TagKey", "TagValue")), change,
                   monthly=MONTHLY, priced=USE,
                   how=f"aws kms tag-resource --region {region} --key-id {name} --tags "
                       f"TagKey={TAG},TagValue={TAG_VALUE}")


def absent(site: Site, keys: Sequence[Mapping[str, Any]], delete: bool, days: int) -> Iterator[Step]:
    """Keys go only when that is asked for, and after the waiting time of KMS: without them nothing can be read."""
    for wanted in keys:
        for region in wanted["regions"]:
            kms, thing = site.client("kms", region), f"key {wanted['alias']} in {region}"
            key = _describe(kms, wanted["alias"])
            if key is None:
                yield Step(PART, thing, KEEP, "is not there")
            elif TAG not in _tags(kms, key["KeyId"]):
                yield Step(PART, thing, STAY, f"not ours: no tag {TAG}")
            elif key["KeyState"] == "PendingDeletion":
                yield Step(PART, thing, KEEP, "is to be deleted already")
            elif not delete:
                yield Step(PART, thing, STAY, "what it encrypted or signed needs it; account_setup_delete_keys=true "
                           f"has it deleted in {days} days", MONTHLY)
            else:
                yield Step(PART, thing, REMOVE, f"in {days} days, until then aws kms cancel-key-deletion --region "
                           f"{region} --key-id {key['KeyId']} brings it back", act=_deletion(kms, key, days))


def _deletion(kms: Any, key: Mapping[str, Any], days: int) -> Any:
    return lambda: kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=days)
