# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sharing for people: the plan with what the keys said, and what came of each snapshot."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.filter.request import one_line
from ansible_collections.dfir.aws.plugins.module_utils.acquisition import targets
from ansible_collections.dfir.aws.plugins.module_utils.sharing import locks

WIDTH = 110


def sharing_lock(request: Mapping[str, Any], mode: str, days: int, cool_off_hours: int, confirmation: str,
                 ) -> dict[str, Any]:
    """The lock that is wanted; an error where it is not asked for as it must be."""
    try:
        return locks.checked(str(mode), int(days), int(cool_off_hours or 0) or None, str(confirmation or ""),
                             str(request["incident"]))
    except locks.LockRefused as refused:
        raise AnsibleFilterError(str(refused)) from refused


def sharing_plan_lines(entries: Sequence[Mapping[str, Any]], check_mode: bool = False) -> list[str]:
    """The plan for people, a line each."""
    rows = [row for entry in entries for row in _planned(entry)]
    if check_mode:
        rows.append(("Check", "nothing was copied, shared or locked"))
    return [f"{name:<10}{part}" for name, text in rows for part in textwrap.wrap(text, WIDTH) or [""]]


def _planned(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    target = entry["target"]
    yield "Snapshot", (f"{entry['snapshot_id']} of account {entry['account']} in {entry['region']}, for account "
                       f"{target['account']} in {target['region']}")
    if entry["problem"]:
        yield "", f"CANNOT be shared. {one_line(entry['problem'], 800)}"
    for why in entry["why"]:
        yield "", why
    for check in entry["checks"]:
        why = f": {one_line(check['why'], 300)}" if check["why"] else ""
        yield "Key", f"{check['action']} on {check['key']} by account {check['account']}: {check['verdict']}{why}"
    for number, call in enumerate(entry["calls"], 1):
        yield f"Call {number}", call
    for note in entry["notes"]:
        yield "Note", one_line(note, 400)


def sharing_result(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What came of all snapshots: `snapshots`, `failed`, `lines` and `problem`."""
    failed = [item for item in results if item["problem"]]
    return {
        "snapshots": list(results), "failed": [item["source_snapshot_id"] for item in failed],
        "lines": [line for item in results for line in _lines(item)],
        "problem": (f"{len(failed)} of {len(results)} snapshots could not be shared: "
                    + " ".join(one_line(item["problem"], 800) for item in failed)) if failed else "",
    }


def _lines(item: Mapping[str, Any]) -> Iterator[str]:
    if item["problem"]:
        yield f"{item['source_snapshot_id']}: FAILED: {one_line(item['problem'], 800)}"
        return
    yield (f"{item['source_snapshot_id']} of {item['source_account']}: {item['state']}, {item['snapshot_id']} of "
           f"account {item['account']} in {item['region']}")
    yield f"  {one_line(item['words'], 500)}"
    yield f"  Lock: {item['lock']}" + (f" until {item['locked_until']}" if item["locked_until"] else "")
    for note in item["notes"]:
        yield f"  {one_line(note, 400)}"
    if item["intermediate"]:
        yield (f"  {item['intermediate']}, the copy in between, stays in account {item['source_account']}, whose it "
               f"is: aws ec2 delete-snapshot --region {item['source_region']} --snapshot-id {item['intermediate']}")


def sharing_snapshots(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """The completed snapshots of an acquisition, as the role sharing takes them."""
    return [{"snapshot_id": str(one["snapshot_id"]), "account": str(one["account"]), "region": str(one["region"])}
            for one in result["evidence"] if one["state"] == "completed"]


def sharing_access(request: Mapping[str, Any], snapshots: Sequence[Mapping[str, Any]], target_account: str,
                   members: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """How modules enter the accounts that are not this run's own.

    :param members: the operator's `dfir_aws_member_accounts`: `role`, `external_id` and `source_identity` by account.
        `*` is every account without an entry of its own.
    """
    accounts = dict.fromkeys([*(str(item["account"]) for item in snapshots), str(target_account)])
    found = []
    for account in accounts:
        entry = {} if account == request["account"] else targets.entry_of(members or {}, account)
        if not entry:
            continue
        uid = str(request["analyst"]["uid"])
        told = str(entry.get("source_identity", True)).lower() not in ("false", "no") and len(uid) > 1
        found.append({
            "account": account, "role_arn": f"arn:{request['partition']}:iam::{account}:role/{entry['role']}",
            "session_name": f"dfir-{request['incident'][:42]}-{request['request_id']}",
            **({"external_id": str(entry["external_id"])} if entry.get("external_id") else {}),
            **({"source_identity": uid} if told else {})})
    return found


def sharing_role(access: Sequence[Mapping[str, str]], account: str) -> dict[str, str]:
    """The role by which one account is entered; empty for this run's own."""
    return next(({name: value for name, value in entry.items() if name != "account"} for entry in access
                 if entry["account"] == account), {})


class FilterModule:
    """Filters of the role sharing."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"sharing_lock": sharing_lock, "sharing_plan_lines": sharing_plan_lines,
                "sharing_result": sharing_result, "sharing_snapshots": sharing_snapshots,
                "sharing_access": sharing_access, "sharing_role": sharing_role}
