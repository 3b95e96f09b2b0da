# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a request that exists stands: for somebody who wants to see it, and for somebody who wants to end it by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.filter.request import one_line
from ansible_collections.dfir.aws.plugins.filter.settlement import follow_up
from ansible_collections.dfir.aws.plugins.module_utils.record import is_gone, is_held, spoken
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import parse_iso

ALIVE = ("pending", "running")
# What SSH needs to know of a host, from the record.
REACHED_BY = ("instance_id", "address", "user", "known_hosts")


def closing(record: Mapping[str, Any], holder: str, region: str, exists: Sequence[Mapping[str, Any]],
            take_over: bool = False) -> dict[str, Any]:
    """What ending a request by hand takes.

    :param holder: who ends it.
    :param region: the region of the record's bucket.
    :param exists: what exists of it, from M(dfir.aws.request_resources_info).
    :param take_over: whoever holds the request is known to be dead.
    """
    told = follow_up(record, holder, region)
    host = told["results"]["analysis_host"]
    alive = [str(item["id"]) for item in exists if item["type"] == "instance" and item.get("state") in ALIVE]
    lease = record.get("lease") or {}
    held = is_held(record, holder, datetime.now(timezone.utc), is_gone) and not take_over
    worked = bool(told["results"]["forensics"])
    holds = f"{spoken(str(lease.get('holder')))}, which holds it until {lease.get('expires_at')} (UTC)" if held else ""
    refusal = ""
    if held and not worked and record["state"] != "finished":
        refusal = (f"Request {record['request_id']} is still being prepared by {holds}: cancel that run first. Where "
                   "it is known to be dead, set take_over=true.")
    return {
        "request_id": str(record["request_id"]), "request": told["request"], "results": told["results"],
        "standing": told["standing"], "finished": record["state"] == "finished", "outcome": record.get("outcome"),
        "held_by": holds, "refusal": refusal, "worked": worked, "alive": alive,
        "known_host": bool(host.get("instance_id")),
        # An address is told to a host of the same name only: it may be somebody else's by now.
        "reachable": all(host.get(key) for key in REACHED_BY) and alive == [host["instance_id"]],
    }


def closing_report(plan: Mapping[str, Any], exists: Sequence[Mapping[str, Any]]) -> list[str]:
    """What will be done, in words."""
    name = f"Request {plan['request_id']} ({plan['request']['incident']})"
    left = [f"exists: {item['type']} {item['id']} ({item['region']})" for item in exists]
    if plan["finished"]:
        return [f"{name} has ended before, as '{plan['outcome']}'.", *left,
                *(["What still exists is removed by playbooks/reap_resources.yml."] if left else [])]
    if plan["reachable"]:
        how = f"Its host {plan['alive'][0]} is told to end its work: it uploads what there is, and powers itself off."
    elif plan["alive"]:
        how = f"Its host {', '.join(plan['alive'])} was never set to work as far as its record knows: it is terminated."
    else:
        how = "It has no host that runs."
    return [f"{name} is open.", *([f"It is held by {plan['held_by']}: that run brings it to its end."]
                                  if plan["held_by"] else []), how, *left]


def request_screen(record: Mapping[str, Any], exists: Sequence[Mapping[str, Any]] = (),
                   unseen: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """A request's record as a person reads it: what was asked, what was done and when, how it ended, what exists."""
    request = record["request"]
    lines = [f"Request   {record['request_id']}, attempt {request.get('attempt', 1)}, {request['mode']}",
             f"Incident  {request['incident']}",
             f"Analyst   {request['analyst']['name']} ({request['analyst']['uid']})",
             *(f"Snapshot  {item['id']} in {item['region']}" for item in request["snapshots"]),
             f"Analyzed  in {request['analysis_region']}, account {request['account']}",
             f"Results   s3://{request['artifact_bucket']}/{request['artifact_prefix']}",
             f"State     {_state(record)}", "", "STEPS (UTC)"]
    for step in record.get("steps") or []:
        lines += _step(step)
    lines += [] if record.get("steps") else ["  none was noted"]
    lines += ["", "RUNS (UTC)"]
    for run in record.get("runs") or []:
        end = f"{run['ended_at']} {run.get('outcome')}" if run.get("ended_at") else "no end was noted"
        lines.append(f"  {run['started_at']}  {spoken(str(run['holder']))} for {run['caller']['name']}: {end}")
    lines += ["", "WHAT EXISTS NOW"]
    for item in exists:
        lines.append(f"  {item['type']} {item['id']} ({item['region']})"
                     + (f", {item['state']}" if item.get("state") else "")
                     + (f", until {item['expires']}" if item.get("expires") else ""))
        lines += [] if item.get("goes_with") else [f"    {item['remove_command']}"]
    lines += [f"  {item['place']} could not be asked: {one_line(item['reason'], 200)}" for item in unseen]
    lines += [] if exists or unseen else ["  nothing"]
    return lines


def _state(record: Mapping[str, Any]) -> str:
    if record["state"] == "finished":
        return f"finished as '{record.get('outcome')}' at {record.get('finished_at', 'an unknown time')}"
    lease = record.get("lease")
    if not lease:
        return "open, nobody works on it"
    over = parse_iso(lease["expires_at"]) <= datetime.now(timezone.utc) or is_gone(lease["holder"])
    who = spoken(str(lease["holder"]))
    return f"open, {who} is gone" if over else f"open, held by {who} until {lease['expires_at']} (UTC)"


def _step(step: Mapping[str, Any]) -> list[str]:
    """A line for the step, and one for each id and number that it left."""
    ended = str(step.get("ended_at") or "")
    took = ""
    if step.get("started_at") and ended:
        took = f", {(parse_iso(ended) - parse_iso(str(step['started_at']))).total_seconds():.0f} s"
    lines = [f"  {ended}  {step['name']}: {step['outcome']}{took}"]
    for key, value in (step.get("details") or {}).items():
        if isinstance(value, str) and "\n" in value:  # a text, such as an alert that could not be sent
            lines += [f"      {key}:", *(f"        {one_line(line, 200)}" for line in value.splitlines())]
        elif isinstance(value, (str, int, float)) and value != "":
            lines.append(f"      {key}: {one_line(value, 300)}")
    return lines


class FilterModule:
    """Filters of the playbooks that show and close requests."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {function.__name__: function for function in (closing, closing_report, request_screen)}
