# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of an acquisition with its cost, and what came of it: for the screen, the mail and the report."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.dfir.aws.plugins.filter.request import one_line
from ansible_collections.dfir.aws.plugins.module_utils import prices
from ansible_collections.dfir.aws.plugins.module_utils.acquisition import targets
from ansible_collections.dfir.aws.plugins.module_utils.ebs.version import __version__

WIDTH = 110
METADATA = ("instance, status, console output, screenshot, attributes, volumes, interfaces, security groups, network, "
            "flow logs, image, key pair, profile and policies, tags, SSM inventory")
SNAPSHOTS = (("account", "Account", "text"), ("instance", "Instance", "text"),
             ("device", "Device", "text"), ("volume", "Volume", "text"),
             ("snapshot", "Snapshot", "text"), ("size", "GiB", "number"), ("started", "Moment", "time"),
             ("state", "State", "text"), ("name", "Name", "text"))
LOST = (("instance", "Instance", "text"), ("what", "What", "text"), ("why", "Why not", "text"))
FILES = (("instance", "Instance", "text"), ("name", "File", "text"), ("bytes", "Bytes", "bytes"),
         ("sha256", "SHA-256", "text"))


def acquisition_plan(found: Sequence[Mapping[str, Any]], request: Mapping[str, Any], tables: Any) -> dict[str, Any]:
    """What would be captured of each instance, and what that costs.

    :param found: what M(dfir.aws.ec2_acquisition_info) returned.
    :param tables: prices, the operator's first.
    """
    ready = [item for item in found if not item["problem"]]
    gib = sum(volume["size_gib"] for item in ready if not item["earlier"]
              for volume in item["volumes"] if volume["captured"])
    price = prices.find(prices.checked(tables), "snapshot", request["region"])
    return {"instances": list(found), "ready": ready, "gib": gib,
            "usd_a_month": round(gib * price.usd, 2) if price else None,
            "price": {"usd": price.usd, "as_of": price.as_of, "region": price.region} if price else {}}


def acquisition_plan_lines(plan: Mapping[str, Any], request: Mapping[str, Any], check_mode: bool = False) -> list[str]:
    """The plan for people, a line each."""
    rows = [("Plan", f"of acquisition {request['request_id']}, attempt {request['attempt']}, in {request['region']}")]
    rows += [("Account", f"{target['account']}, as {target['role_arn']}, session {target['session_name']}")
             for target in request.get("targets", []) if target["role_arn"]]
    for item in plan["instances"]:
        rows += [("Instance", text) for text in _about(item, request["account"])]
    days = request["cloudtrail_days"]
    rows += [("First", f"metadata, before anything else: {METADATA}; "
                       f"{f'CloudTrail of {days} days' if days else 'no CloudTrail, as asked'}"),
             ("Then", "one CreateSnapshots call an instance, crash-consistent over its volumes; no instance is "
                      "stopped, restarted or changed"),
             ("Cost", _cost(plan))]
    if check_mode:
        rows.append(("Check", "nothing was kept and nothing was snapshotted"))
    return [f"{name:<10}{part}" for name, text in rows for part in textwrap.wrap(text, WIDTH) or [""]]


def _called(item: Mapping[str, Any], home: str) -> str:
    """An instance for people, with its account where that is another one."""
    account = str(item.get("account") or home)
    if not item["instance_id"]:
        return f"The account {account}"
    called = f" ({one_line(item['name'], 60)})" if item["name"] else ""
    return f"{item['instance_id']}{called}" + (f" of {account}" if account != home else "")


def _about(item: Mapping[str, Any], home: str) -> Iterator[str]:
    called = _called(item, home)
    if item["problem"]:
        yield f"{called}: CANNOT be acquired. {item['problem']}"
        return
    yield f"{called}, {item['type']} in {item['zone']}, {item['state']}"
    if item["earlier"]:
        yield f"{item['instance_id']}: {item['earlier']} snapshots of this acquisition are there and are taken up"
    for volume in item["volumes"]:
        if volume["captured"]:
            root = ", root" if volume["root"] else ""
            codes = ", with Marketplace codes: no volume made of it can be attached to a running host"
            yield (f"{item['instance_id']}: {volume['volume_id']} ({volume['device']}{root}), {volume['size_gib']} GiB"
                   f"{codes if volume['product_codes'] else ''}")
    for lost in item["not_captured"]:
        yield f"{item['instance_id']}: NOT captured: {lost['what']}, {lost['why']}"


def _cost(plan: Mapping[str, Any]) -> str:
    if not plan["gib"]:
        return "no new snapshots"
    if plan["usd_a_month"] is None:
        return f"not known: there is no price of snapshots (dfir_aws_prices); {plan['gib']} GiB at most"
    price = plan["price"]
    return (f"at most {plan['usd_a_month']:.2f} USD a month for {plan['gib']} GiB of snapshots, by the price of "
            f"{price['region']} as of {price['as_of']}; only written blocks are stored")


def acquisition_result(plan: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]],
                       snapshots: Sequence[Mapping[str, Any]], waited: Sequence[Mapping[str, Any]],
                       request: Mapping[str, Any]) -> dict[str, Any]:
    """What came of each instance.

    :param waited: results of a loop of M(dfir.aws.aws_wait) over the snapshots.
    """
    kept = {str(item["instance_id"]): item for item in metadata}
    made = {str(item["instance_id"]): item for item in snapshots}
    ends = {str(result["item"]["snapshot_id"]): result for result in waited}
    each = [_came({**item, "account": item.get("account") or request["account"]}, kept.get(item["instance_id"]),
                  made.get(item["instance_id"]), ends) for item in plan["instances"]]
    failed = [item for item in each if item["problem"]]
    reasons = dict.fromkeys(item["problem"] for item in failed)  # of an account that is closed: once
    bucket = request["artifact_bucket"]
    return {
        "instances": each, "failed": [item["instance_id"] or item["account"] for item in failed],
        "snapshots": [snapshot["snapshot_id"] for item in each for snapshot in item["snapshots"]],
        # What a next step takes up: each snapshot with the account that owns it.
        "evidence": [_handed_on(one, item, request) for item in each for one in item["snapshots"]],
        "places": [f"s3://{bucket}/{item['prefix']}" for item in each if item["prefix"]],
        "lines": [line for item in each for line in _lines(item, bucket, request["account"])],
        "problem": (f"{len(failed)} of {len(each)} instances could not be acquired: "
                    + " ".join(reasons)) if failed else
                   ("" if each else "No instance carries these tags: nothing was acquired."),
    }


def _handed_on(snapshot: Mapping[str, Any], item: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    told = ("snapshot_id", "account", "volume_id", "device", "size_gib", "encrypted", "kms_key_id", "state")
    return {**{name: snapshot[name] for name in told}, "region": request["region"], "instance_id": item["instance_id"],
            "root": snapshot["volume_id"] in item["roots"], "own": snapshot["account"] == request["account"]}


def _came(item: Mapping[str, Any], kept: Mapping[str, Any] | None, made: Mapping[str, Any] | None,
          ends: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    keys = {volume["volume_id"]: volume["kms_key_id"] for volume in item["volumes"]}
    snapshots = [{"account": item["account"], "encrypted": False, "kms_key_id": keys.get(snapshot["volume_id"], ""),
                  **snapshot, "state": ends.get(snapshot["snapshot_id"], {}).get("state") or snapshot["state"]}
                 for snapshot in (made or {}).get("snapshots", [])]
    late = [str(ends[snapshot["snapshot_id"]].get("msg") or "a snapshot was not completed") for snapshot in snapshots
            if ends.get(snapshot["snapshot_id"], {}).get("failed")]
    problem = item["problem"] or (kept or {}).get("problem", "") or (made or {}).get("problem", "") or " ".join(late)
    if not problem and not snapshots:
        problem = f"{item['instance_id']} has no snapshot: run it again."
    return {
        "instance_id": item["instance_id"], "account": item["account"], "name": item["name"], "state": item["state"],
        "roots": [volume["volume_id"] for volume in item["volumes"] if volume["root"]],
        "acquisition": item["acquisition"], "snapshots": snapshots,
        "not_captured": list((made or item)["not_captured"]), "prefix": (kept or {}).get("prefix", ""),
        "files": list((kept or {}).get("files", [])), "not_had": list((kept or {}).get("not_had", [])),
        "facts": list((kept or {}).get("facts", [])), "finished": (kept or {}).get("finished", ""),
        "problem": one_line(problem, 600),
    }


def _lines(item: Mapping[str, Any], bucket: str, home: str) -> Iterator[str]:
    yield f"{_called(item, home)}: {'FAILED: ' + item['problem'] if item['problem'] else 'acquired'}"
    for snapshot in item["snapshots"]:
        yield (f"  {snapshot['snapshot_id']}  {snapshot['volume_id']} ({one_line(snapshot['device'], 20)}), "
               f"{snapshot['size_gib']} GiB, {snapshot['state']}, as of {snapshot['started']}")
    for lost in item["not_captured"]:
        yield f"  NOT captured: {one_line(lost['what'], 60)}, {one_line(lost['why'], 200)}"
    if item["prefix"]:
        yield f"  Metadata: {len(item['files'])} files in s3://{bucket}/{item['prefix']}"
    if item["not_had"]:
        names = ", ".join(dict.fromkeys(error["section"] for error in item["not_had"]))
        yield f"  Metadata that could not be had, recorded with its error: {names}"


def acquisition_followed(result: Mapping[str, Any], request: Mapping[str, Any], hosts: Any) -> dict[str, Any]:
    """What came of the acquisition, and of the looks into its snapshots, where these were asked for.

    :param hosts: variables by host; each snapshot that was looked into is a host.
    """
    if not result or request["afterwards"] == "none":
        return dict(result)
    lines, problems = [], []
    for one in result["evidence"]:
        name = one["snapshot_id"]
        found = hosts[name] if name in hosts else {}  # noqa: SIM401  hostvars are no dictionary
        if "triage_result" in found:
            seen = found["triage_result"]
            counts = ", ".join(f"{number} {severity}" for severity, number in seen["counts"].items() if number)
            where = ", ".join(seen["places"]) or "kept nowhere"
            lines.append(f"{name}: looked into: {counts or 'no findings'}; {where}")
        elif not one["own"]:
            lines.append(f"{name}: NOT looked into: it belongs to the account {one['account']}. Share it with this "
                         "account, copy it, and look into the copy (playbooks/triage_snapshot.yml).")
        else:
            why = (found.get("acquire_instance_problem") or {}).get("message") or "it was not completed"
            problems.append(f"{name} could not be looked into: {one_line(why, 400)}")
    return {**result, "lines": [*result["lines"], *lines, *problems],
            "problem": " ".join(part for part in (result["problem"], *problems) if part)}


def acquisition_report(result: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the report: one page for all instances. The same result gives the same data."""
    each = result["instances"]
    return {
        "schema": 1, "kind": "acquisition", "title": f"{len(each)} instances" if len(each) != 1 else
        _called(each[0], request["account"]), "incident": request["incident"],
        "made": max((item["finished"] for item in each), default=""),
        "tool": {"name": "dfir.aws", "version": __version__},
        "source": {"kind": "instances", "name": ", ".join(item["instance_id"] or item["account"] for item in each),
                   "region": request["region"]},
        "facts": [{"label": f"{item['instance_id']}: {fact['label']}", "value": fact["value"]}
                  for item in each for fact in item["facts"]],
        "warnings": list(dict.fromkeys(item["problem"] for item in each if item["problem"])),
        "not_read": [f"{item['instance_id']}: {error['section']}, {error['call']}: {error['code']}: {error['message']}"
                     for item in each for error in item["not_had"]],
        "tables": [
            _table("snapshots", "Snapshots", SNAPSHOTS, (
                {"account": item["account"], "instance": item["instance_id"], "device": one["device"],
                 "volume": one["volume_id"], "snapshot": one["snapshot_id"], "size": one["size_gib"],
                 "started": one["started"], "state": one["state"], "name": one["name"]}
                for item in each for one in item["snapshots"])),
            _table("not_captured", "Not captured", LOST, (
                {"instance": item["instance_id"], **one} for item in each for one in item["not_captured"])),
            _table("metadata", "Metadata", FILES, (
                {"instance": item["instance_id"], **one} for item in each for one in item["files"])),
        ],
        "hashes": [{"name": item["prefix"] + one["name"], "sha256": one["sha256"], "bytes": one["bytes"]}
                   for item in each for one in item["files"]],
    }


def _table(name: str, title: str, columns: Sequence[tuple[str, str, str]], rows: Iterator[Mapping[str, Any]],
           ) -> dict[str, Any]:
    return {"id": name, "title": title, "rows": [dict(row) for row in rows],
            "columns": [{"key": key, "title": text, "type": kind} for key, text, kind in columns]}


def acquisition_access(request: Mapping[str, Any], members: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """How modules enter the accounts of an acquisition that are not this run's own.

    :param members: the operator's `dfir_aws_member_accounts`.
    """
    return targets.access(request["targets"], members or {})


def acquisition_role(account: str, request: Mapping[str, Any], members: Mapping[str, Any] | None) -> dict[str, Any]:
    """The role by which one account is entered; empty for this run's own."""
    return next(({key: value for key, value in item.items() if key != "account"}
                 for item in acquisition_access(request, members) if item["account"] == account), {})


class FilterModule:
    """Filters of the role acquisition."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"acquisition_plan": acquisition_plan, "acquisition_plan_lines": acquisition_plan_lines,
                "acquisition_result": acquisition_result, "acquisition_report": acquisition_report,
                "acquisition_followed": acquisition_followed, "acquisition_access": acquisition_access,
                "acquisition_role": acquisition_role}
