# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask for what: the registry of analysts, and the decision made on it.

A registry is a list of entries. Where the list comes from is a loader in `LOADERS`; the decision does not care. All
sentences speak of the analyst who asks and of nobody else.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.common.yaml import HAS_YAML, yaml_load

PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc"), ("us-iso-", "aws-iso"),
              ("us-isob-", "aws-iso-b"), ("eu-isoe-", "aws-iso-e"), ("us-isof-", "aws-iso-f"))


class Refused(Exception):
    """A request that is not allowed. `field` is the field, or the right, that the sentence is about."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field, self.sentence = field, sentence


class RegistryError(Exception):
    """The registry itself is wrong: the operator's business."""


class Caller(NamedTuple):
    """Who runs this: `kind` is `awx` (name given by the platform) or `cli` (the AWS identity)."""

    kind: str
    name: str
    arn: str
    account: str

    @property
    def partition(self) -> str:
        return self.arn.split(":")[1]


def matches(pattern: Any, value: str) -> bool:
    """True when `pattern` covers the whole of `value`. `*` and `?` are the only wildcards; case counts."""
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in str(pattern))
    return re.fullmatch(expression, value) is not None


def from_inventory(settings: Mapping[str, Any]) -> Any:
    """The list as the inventory holds it."""
    return settings.get("analysts") or []


def from_file(settings: Mapping[str, Any]) -> Any:
    """A YAML or JSON file on the controller: a list, or a dictionary with the list under `analysts`."""
    name = settings.get("file") or ""
    if not name:
        raise RegistryError("The registry of analysts is to be read from a file, but registry_file is empty.")
    try:
        text = Path(name).read_text(encoding="utf-8")
        data = yaml_load(text) if HAS_YAML else json.loads(text)
    except (OSError, ValueError) as error:
        raise RegistryError(f"The registry of analysts cannot be read from {name}: {error}") from None
    except Exception as error:  # PyYAML's errors have no base class of the standard library
        raise RegistryError(f"The registry of analysts in {name} is not YAML: {error}") from None
    return data.get("analysts") if isinstance(data, Mapping) else data


# A new source is one function and one line here.
LOADERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {"inventory": from_inventory, "file": from_file}


def load(source: str, settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The registry's entries from one of the sources in `LOADERS`."""
    if source not in LOADERS:
        raise RegistryError(f"There is no registry source '{source}': use one of {', '.join(sorted(LOADERS))}.")
    entries = LOADERS[source](settings)
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise RegistryError("The registry of analysts must be a list.")
    return [entry for entry in entries if isinstance(entry, Mapping)]


def decide(entries: Iterable[Mapping[str, Any]], values: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """The analyst's entry when the request is allowed; `Refused` otherwise.

    :param values: checked fields of the request.
    :param caller: who runs this.
    """
    uid = values["analyst_uid"]
    entry = who(entries, uid, caller)
    for name in ("aws_analysis_region", "aws_snapshot_region"):
        if partition_of(values[name]) != caller.partition:
            raise Refused(name, f"{name}: {values[name]} lies in the partition {partition_of(values[name])}, but this "
                                f"run's AWS credentials belong to {caller.partition}.")
    missing = _missing(entry.get("grants"), values, caller.account)
    if missing:
        # All that the nearest grant lacks, so that one correction is enough.
        rights = "; ".join(f"{name}: '{uid}' has no right to {what} for this request" for name, what in missing)
        raise Refused(missing[0][0], rights + ".")
    return _checked(entry)


def who(entries: Iterable[Mapping[str, Any]], uid: str, caller: Caller) -> Mapping[str, Any]:
    """The entry of an analyst as whom the caller may act; `Refused` otherwise."""
    found = [entry for entry in entries if entry.get("uid") == uid]
    if len(found) > 1:
        raise RegistryError(f"The registry holds '{uid}' {len(found)} times: keep one entry.")
    # One sentence for "unknown" and for "not you": who else is in the registry is nobody's business.
    if not found or not _is_bound(found[0], caller):
        raise Refused("analyst_uid", f"analyst_uid: {_who(caller)} may not act as the analyst '{uid}'.")
    return found[0]


def covers(entry: Mapping[str, Any], caller: Caller, incident: str) -> bool:
    """Whether a grant of an entry covers an incident in the caller's account."""
    grants = entry.get("grants")
    return any(isinstance(grant, Mapping)
               and any(matches(pattern, incident) for pattern in _strings(grant.get("incidents")))
               and any(matches(pattern, caller.account) for pattern in _strings(grant.get("accounts")))
               for grant in (grants if isinstance(grants, Sequence) and not isinstance(grants, str) else []))


def entitled(entries: Iterable[Mapping[str, Any]], uid: str, caller: Caller, right: str) -> dict[str, Any]:
    """Whom a mail goes to, of an entry that has a right of its own; `Refused` otherwise.

    :returns: uid, name, email and timezone: nobody connects to anything for it.
    """
    entry = who(entries, uid, caller)
    if right not in _strings(entry.get("rights")):
        raise Refused("analyst_uid", f"analyst_uid: '{uid}' has no right to {right}: it belongs among the rights of "
                                     "that entry of the registry.")
    return _addressed(entry)


def partition_of(region: str) -> str:
    """The AWS partition that a region's name belongs to."""
    return next((partition for start, partition in PARTITIONS if region.startswith(start)), "aws")


def _is_bound(entry: Mapping[str, Any], caller: Caller) -> bool:
    if caller.kind == "awx":  # the platform's user name is compared as it is: no wildcards
        return caller.name in _strings(entry.get("awx_users"))
    return any(matches(pattern, caller.arn) for pattern in _strings(entry.get("callers")))


def _who(caller: Caller) -> str:
    name = caller.name if caller.kind == "awx" else caller.arn
    return f"'{name}'" if name.isprintable() and len(name) <= 2048 else "this run's user"


def _missing(grants: Any, values: Mapping[str, Any], account: str) -> list[tuple[str, str]]:
    """What the nearest grant does not cover, as (field, description); empty when one grant covers all."""
    wanted = (
        ("incident", "incidents", values["incident"], f"the incident {values['incident']}"),
        ("account", "accounts", account, f"the AWS account {account}"),
        ("aws_analysis_region", "regions", values["aws_analysis_region"],
         f"the region {values['aws_analysis_region']}"),
        ("aws_snapshot_region", "regions", values["aws_snapshot_region"],
         f"the region {values['aws_snapshot_region']}"),
        ("forensics_mode", "modes", values["forensics_mode"], f"the mode {values['forensics_mode']}"),
    )
    nearest = [(field, what) for field, _key, _value, what in wanted]
    for grant in grants if isinstance(grants, Sequence) and not isinstance(grants, str) else []:
        if not isinstance(grant, Mapping):
            continue
        lacking = [(field, what) for field, key, value, what in wanted
                   if not any(matches(pattern, value) for pattern in _strings(grant.get(key)))]
        if len(lacking) < len(nearest):
            nearest = lacking
    return nearest


def _strings(value: Any) -> list[str]:
    """A list of strings; what is absent grants nothing. YAML reads an unquoted account as a number: taken as text."""
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [] if value is None else [value]
    return [str(item) for item in items if isinstance(item, (str, int)) and not isinstance(item, bool)]


def _addressed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an entry that a mail needs, checked."""
    uid = str(entry["uid"])
    email = str(entry.get("email") or "")
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", email):
        raise RegistryError(f"The registry's entry '{uid}' needs an email address of the form name@example.org.")
    name = " ".join(str(entry.get("name") or uid).split())
    return {"uid": uid, "name": name, "email": email, "timezone": str(entry.get("timezone") or "UTC")}


def _checked(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an entry that a request carries on, checked for what later steps do with them."""
    addressed = _addressed(entry)
    uid = addressed["uid"]
    cidrs = _strings(entry.get("cidrs"))
    for cidr in cidrs:
        try:
            network = ipaddress.ip_network(cidr)
        except ValueError as error:
            raise RegistryError(f"The registry's entry '{uid}' holds a cidr that is none: {error}.") from None
        if network.prefixlen == 0:
            raise RegistryError(f"The registry's entry '{uid}' opens the analysis host to the world ({cidr}).")
    if not cidrs:
        raise RegistryError(f"The registry's entry '{uid}' has no cidrs: nobody could connect to the host.")
    key = entry.get("public_key")
    if not isinstance(key, Mapping):
        raise RegistryError(f"The registry's entry '{uid}' has no public_key.")
    return {**addressed, "cidrs": cidrs, "public_key": {str(part): str(value) for part, value in key.items()}}
