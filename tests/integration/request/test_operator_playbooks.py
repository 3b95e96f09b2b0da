# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that exist, shown and closed by the playbooks themselves: who may, what is removed, what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.request_kit import ROOT, Run, flat

SHOW, CLOSE = (str(ROOT / "playbooks" / f"{name}_request.yml") for name in ("show", "close"))


@pytest.fixture
def request_id(site: dict[str, Any], run: Run, table: dict[str, Any], aws: Any) -> Iterator[str]:
    """An open request that a run left in the middle, with a volume, a security group and somebody else's volume."""
    done = run(table["valid"])
    assert done.returncode == 0, done.stdout
    spec = json.loads(site["result"].read_text())
    all_tags = {**spec["tags"], "dfir:expires": "2999-01-01T00:00:00Z"}
    tags = [{"Key": key, "Value": value} for key, value in all_tags.items()]
    ec2 = aws("ec2")

    def made(kind: str, more: str = "") -> list[dict[str, Any]]:
        named = [{**tag, "Value": tag["Value"] + more} if tag["Key"] == "dfir:request" else tag for tag in tags]
        return [{"ResourceType": kind, "Tags": named}]

    for name, more in (("volume", ""), ("foreign", "0")):
        site[name] = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1,
                                       TagSpecifications=made("volume", more))["VolumeId"]
    site["group"] = ec2.create_security_group(GroupName=spec["name"], Description="x",
                                              TagSpecifications=made("security-group"))["GroupId"]
    yield str(spec["request_id"])
    for volume in {site["volume"], site["foreign"]} & exists(aws):
        ec2.delete_volume(VolumeId=volume)
    if site["group"] in exists(aws):
        ec2.delete_security_group(GroupId=site["group"])


def record(site: dict[str, Any], request_id: str) -> dict[str, Any]:
    body = site["s3"].get_object(Bucket=site["bucket"], Key=f"requests/{request_id}.json")["Body"].read()
    return dict(json.loads(body))


def exists(aws: Any) -> set[str]:
    ec2 = aws("ec2")
    return ({item["VolumeId"] for item in ec2.describe_volumes()["Volumes"]}
            | {item["GroupId"] for item in ec2.describe_security_groups()["SecurityGroups"]})


def test_a_request_is_shown_and_closed(site: dict[str, Any], run: Run, aws: Any, request_id: str) -> None:
    me = {"analyst_uid": "alice"}
    for found in ({"request_id": request_id}, {"incident": "INC-2026-0042"}):
        shown = run({**me, **found}, name=SHOW)
        assert shown.returncode == 0 and "changed=0" in shown.stdout, shown.stdout
        for words in (f"Request {request_id}", "open, process", f"volume {site['volume']}", "delete-volume",
                      "2999-01-01T00:00:00Z", "INC-2026-0042/snap-"):
            assert words in flat(shown.stdout), (words, shown.stdout)
        assert site["foreign"] not in shown.stdout

    before = exists(aws)
    checked = run({**me, "request_id": request_id}, "--check", name=CLOSE)
    assert checked.returncode == 0 and "It has no host that runs." in flat(checked.stdout), checked.stdout
    assert exists(aws) == before and record(site, request_id)["state"] == "open"

    closed = run({**me, "request_id": request_id}, name=CLOSE)
    assert closed.returncode == 0, closed.stdout
    assert before - exists(aws) == {site["volume"], site["group"]}
    now = record(site, request_id)
    assert (now["state"], now["outcome"], now["lease"]) == ("finished", "ended", None)
    [step] = [step for step in now["steps"] if step["name"] == "close_by_hand"]
    assert step["details"]["analyst"] == "alice" and step["details"]["arn"].startswith("arn:aws:")
    # No mail server is set here: its text is in the job output.
    said = flat(closed.stdout)
    assert "closed by hand, by alice, before its host was at work" in said and f"volume {site['volume']}" in said

    again = run({**me, "request_id": request_id}, name=CLOSE)
    assert again.returncode == 0 and "has ended before, as 'ended'" in flat(again.stdout)


def test_nobody_without_the_right_to_a_request_learns_that_it_exists(site: dict[str, Any], run: Run, aws: Any,
                                                                      request_id: str) -> None:
    inventory = json.loads((site["folder"] / "hosts.json").read_text())
    settings = inventory["all"]["hosts"]["localhost"]
    settings["dfir_aws_analysts"][0]["grants"][0]["incidents"] = ["TRAINING-*"]
    (site["folder"] / "hosts.json").write_text(json.dumps(inventory))
    before = exists(aws)
    for playbook in (SHOW, CLOSE):
        said = [run({"analyst_uid": "alice", "request_id": name}, name=playbook) for name in (request_id, "0" * 16)]
        assert all(done.returncode != 0 for done in said)
        for done, name in zip(said, (request_id, "0" * 16), strict=True):
            sentence = f"Request refused. There is no request of id {name} that 'alice' has a right to."
            assert sentence in flat(done.stdout)
    refused = run({"analyst_uid": "mallory", "request_id": request_id}, name=CLOSE)
    assert "may not act as the analyst 'mallory'" in flat(refused.stdout)
    forged = run({"analyst_uid": "alice", "request_id": request_id, "close_request_plan": {}}, name=CLOSE)
    assert forged.returncode != 0 and "close_request_plan is a name of the project's own" in flat(forged.stdout)
    assert exists(aws) == before and record(site, request_id)["state"] == "open"


def test_what_another_run_prepares_is_left_to_it(site: dict[str, Any], run: Run, aws: Any, request_id: str) -> None:
    body = record(site, request_id)
    body["lease"].update(holder="awx-job-4711", expires_at="2999-01-01T00:00:00Z")
    site["s3"].put_object(Bucket=site["bucket"], Key=f"requests/{request_id}.json", Body=json.dumps(body).encode())
    before = exists(aws)
    refused = run({"analyst_uid": "alice", "request_id": request_id}, name=CLOSE)
    assert refused.returncode != 0 and "still being prepared by awx-job-4711" in flat(refused.stdout)
    assert exists(aws) == before
    taken = run({"analyst_uid": "alice", "request_id": request_id, "take_over": True}, name=CLOSE)
    assert taken.returncode == 0, taken.stdout
    assert before - exists(aws) == {site["volume"], site["group"]} and record(site, request_id)["outcome"] == "ended"
