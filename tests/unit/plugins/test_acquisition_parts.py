# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may acquire, what is named how, what is planned and told, and a call whose answer was lost."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter import acquisition as filters
from ansible_collections.dfir.aws.plugins.module_utils import operator_fields, registry
from ansible_collections.dfir.aws.plugins.module_utils.acquisition import labels, plan, snapshots, trail
from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import render
from botocore.exceptions import ClientError, ReadTimeoutError

INSTANCE, VOLUME = "i-0123456789abcdef0", "vol-0123456789abcdef0"
VALID = {"analyst_uid": "alice", "incident": "INC-1", "aws_instance_region": "eu-west-1", "aws_instance_id": INSTANCE}
CALLER = registry.Caller("cli", "c", "arn:aws:iam::123456789012:user/c", "123456789012")
ENTRY = {"uid": "alice", "email": "a@example.org", "callers": [CALLER.arn], "cidrs": ["198.51.100.1/32"],
         "public_key": {"source": "ssm"}}
GRANT = {"incidents": ["INC-*"], "accounts": [CALLER.account], "regions": ["eu-west-1"], "modes": ["automatic"]}
NOW = datetime(2026, 11, 28, 21, 0, 5, tzinfo=timezone.utc)
OPTIONS = {"incident": "INC-1", "acquisition": "a" * 16, "account": CALLER.account, "region": "eu-west-1",
           "analyst": "alice", "attempt": 1, "label": ""}
PRICES = [{"item": "snapshot", "as_of": "today", "source": "x", "prices": {"*": 0.05}}]


def checked(**more: Any) -> dict[str, Any]:
    values, problems = operator_fields.checked("acquire", {**VALID, **more})
    assert not problems, problems
    return values


def spec(**more: Any) -> dict[str, Any]:
    return labels.build(checked(**more), {"uid": "alice"}, CALLER, bucket="b", now=NOW)


def described(**more: Any) -> dict[str, Any]:
    return {"InstanceId": INSTANCE, "State": {"Name": "running"}, "InstanceType": "m5d.large",
            "RootDeviceName": "/dev/xvda", "Placement": {"AvailabilityZone": "eu-west-1a"},
            "Tags": [{"Key": "Name", "Value": "shop\x1b[31m"}],
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": VOLUME}}], **more}


def volume(name: str = VOLUME, device: str = "/dev/xvda", state: str = "attached", **more: Any) -> dict[str, Any]:
    return {"VolumeId": name, "Size": 8, "Attachments": [{"InstanceId": INSTANCE, "Device": device, "State": state}],
            **more}


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"aws_instance_id": ""}, "give one of them"),
    ({"aws_instance_tags": "app=web"}, "give one of them"),
    ({"aws_instance_id": "i-0123456789ABCDEF0"}, "must be one instance id"),
    ({"aws_instance_id": "i-0123456789abcdef0\n"}, "must be one instance id"),
    ({"aws_instance_id": "", "aws_instance_tags": "app"}, "must be one tag"),
    ({"aws_instance_id": "", "aws_instance_tags": "app=a,app=b"}, "names one tag twice"),
    ({"exclude_volumes": "vol-1"}, "must be ids of data volumes"),
    ({"label": "{{ lookup('pipe', 'id') }}"}, "holds a template"),
    ({"label": "a\u202eb"}, "outside ASCII"),
    ({"cloudtrail_days": 91}, "from 0 to 90"),  # pitfall 58
    ({"incident": "requests"}, "are taken"),
])
def test_what_is_wrong_is_said_in_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    _values, problems = operator_fields.checked("acquire", {**VALID, **fields})
    assert any(sentence in problem.sentence for problem in problems), problems


def test_a_grant_must_give_the_right_to_acquire() -> None:
    def ask(**grant: Any) -> dict[str, Any]:
        return operator_fields.acquirer([{**ENTRY, "grants": [{**GRANT, **grant}]}], checked(), CALLER)

    assert ask(modes=["acquire"])["uid"] == "alice"
    with pytest.raises(registry.Refused, match="no right to the mode acquire"):
        ask()
    with pytest.raises(registry.Refused) as refused:
        ask(modes=["acquire"], regions=["us-east-1"])
    assert refused.value.sentence == ("aws_instance_region: 'alice' has no right to the region eu-west-1 for this "
                                      "request.")
    assert refused.value.field == "aws_instance_region"


def test_one_acquisition_is_the_same_whoever_asks_and_whatever_else_is_asked_for() -> None:
    mine = labels.acquisition_id("1", "eu-west-1", "INC-1", INSTANCE, 1)
    assert mine == labels.acquisition_id("1", "eu-west-1", "INC-1", INSTANCE, 1)
    assert len({mine, labels.acquisition_id("1", "eu-west-1", "INC-1", INSTANCE, 2),
                labels.acquisition_id("1", "eu-west-1", "INC-2", INSTANCE, 1)}) == 3
    assert spec()["request_id"] != spec(attempt=2)["request_id"]
    assert spec(aws_instance_id="", aws_instance_tags=["app=web=1"])["instance_tags"] == {"app": "web=1"}


def test_names_say_what_people_search_for_and_fit() -> None:
    name = labels.name("INC-1", INSTANCE, "2026-11-28T21:00:05Z", "shop", "/dev/sdf")
    assert name == f"Forensics INC-1 {INSTANCE} /dev/sdf 2026-11-28 21:00:05 UTC shop"
    longest = labels.name("I" * 64, INSTANCE, "2026-11-28T21:00:05Z", "l" * 40, "/dev/" + "x" * 200)
    assert len(longest) <= 255 and len(labels.description("I" * 64, INSTANCE, "2026-11-28T21:00:05Z", "a" * 64)) <= 255


def test_what_is_left_out_is_said_with_its_reason() -> None:
    params = {"exclude_root": False, "exclude_volumes": []}
    told = plan.entry(described(), [volume(), volume("vol-1", "/dev/sdf", "detaching"),
                                    volume("vol-2", "/dev/sdg", ProductCodes=[{"ProductCodeId": "c"}])], 150, params)
    assert [item["captured"] for item in told["volumes"]] == [False, False, True]
    reasons = {one["what"].split()[0]: one["why"] for one in told["not_captured"]}
    assert "150 GB" in reasons["instance"] and "detaching" in reasons["vol-1"] and "attached" in reasons["vol-2"]
    assert plan.entry(described(), [volume()], 0, params)["not_captured"] == []
    unknown = plan.entry(described(), [volume()], None, params)["not_captured"]
    assert "AWS says nothing" in unknown[0]["why"]
    dead = plan.entry(described(State={"Name": "terminated"}), [], 0, params)
    assert "is terminated" in dead["problem"]
    for without in ({"exclude_root": True}, {"exclude_volumes": [VOLUME]}):
        rootless = plan.entry(described(), [volume()], 0, {**params, **without})
        assert "no volume to snapshot" in rootless["problem"] and "left out as asked" in rootless["problem"]
        asked = snapshots.request(rootless, OPTIONS, NOW)["InstanceSpecification"]
        assert asked == {"InstanceId": INSTANCE, "ExcludeBootVolume": True}


def test_the_plan_is_priced_and_escapes_what_others_wrote() -> None:
    entry = {**plan.entry(described(), [volume()], 0, {"exclude_root": False, "exclude_volumes": []}),
             "acquisition": "a" * 16, "earlier": 0}
    made = filters.acquisition_plan([entry], spec(), PRICES)
    lines = filters.acquisition_plan_lines(made, spec(), True)
    assert made["usd_a_month"] == 0.4 and any("0.40 USD a month for 8 GiB" in line for line in lines)
    assert "nothing was kept" in lines[-1] and not any("\x1b" in line for line in lines)
    known = filters.acquisition_plan([{**entry, "earlier": 1}], spec(), PRICES)
    assert known["gib"] == 0 and "no new snapshots" in "".join(filters.acquisition_plan_lines(known, spec()))
    unpriced = filters.acquisition_plan([entry], spec(), [])
    assert "not known" in "".join(filters.acquisition_plan_lines(unpriced, spec()))


def test_the_result_tells_each_and_fails_for_one() -> None:
    params = {"exclude_root": False, "exclude_volumes": []}
    one = {**plan.entry(described(), [volume()], 0, params), "acquisition": "a" * 16, "earlier": 0}
    two = {**one, "instance_id": "i-2", "problem": "There is no instance i-2."}
    three = {**one, "instance_id": "i-3"}
    made = [{"instance_id": name, "changed": True, "not_captured": [], "problem": "", "snapshots": [
        {"snapshot_id": f"snap-{name}", "volume_id": VOLUME, "device": "/dev/xvda", "size_gib": 8, "state": "pending",
         "started": "2026-11-28T21:00:05Z", "name": "n"}]} for name in (INSTANCE, "i-3")]
    waited = [{"item": made[0]["snapshots"][0], "state": "completed"},
              {"item": made[1]["snapshots"][0], "state": "error", "failed": True, "msg": "Snapshot is in state error"}]
    told = filters.acquisition_result({"instances": [one, two, three]}, [], made, waited, spec())
    assert told["failed"] == ["i-2", "i-3"] and told["problem"].startswith("2 of 3 instances could not be acquired")
    assert told["instances"][0]["snapshots"][0]["state"] == "completed"
    data = filters.acquisition_report(told, spec())
    assert data == filters.acquisition_report(told, spec())  # the same bytes, so that a second run changes nothing
    page = render(data)
    assert "There is no instance i-2." in page and f"snap-{INSTANCE}" in page and "Acquisition" in page
    nothing = filters.acquisition_result({"instances": []}, [], [], [], spec())
    assert "No instance carries these tags" in nothing["problem"]
    assert render(filters.acquisition_report(nothing, spec()))


class Ec2:
    """CreateSnapshots as scripted; what it made is described if `shows`."""

    def __init__(self, *answers: Exception | None, shows: bool = True) -> None:
        self.answers, self.calls, self.shows = list(answers), 0, shows

    def create_snapshots(self, **_arguments: Any) -> None:
        self.calls += 1
        answer = self.answers.pop(0)
        if answer:
            raise answer

    def get_paginator(self, _name: str) -> Any:
        return self

    def paginate(self, **_arguments: Any) -> list[dict[str, Any]]:
        tags = [{"Key": labels.ACQUISITION, "Value": OPTIONS["acquisition"]}]
        found = [{"SnapshotId": f"snap-{number}", "VolumeId": VOLUME, "StartTime": NOW, "Tags": tags}
                 for number in (2, 1)]
        return [{"Snapshots": found if self.shows else []}]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}}, "CreateSnapshots")


def test_a_call_whose_answer_was_lost_is_not_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots.time, "sleep", lambda _seconds: None)
    lost = ReadTimeoutError(endpoint_url="https://ec2")
    ec2 = Ec2(lost)
    snapshots.create(ec2, ec2, {}, OPTIONS["acquisition"])
    assert ec2.calls == 1
    nothing = Ec2(lost, shows=False)
    with pytest.raises(snapshots.Failed, match="Run it again"):
        snapshots.create(nothing, nothing, {}, OPTIONS["acquisition"])
    assert nothing.calls == 1
    busy = Ec2(refusal("RequestLimitExceeded"), None)
    snapshots.create(busy, busy, {}, OPTIONS["acquisition"])
    assert busy.calls == 2
    with pytest.raises(ClientError):
        snapshots.create(ec2 := Ec2(refusal("UnauthorizedOperation")), ec2, {}, OPTIONS["acquisition"])
    # Two runs at once: everybody takes the same one of each volume.
    assert [one["SnapshotId"] for one in snapshots.taken(Ec2(), OPTIONS["acquisition"])] == ["snap-1"]


def test_p58_two_look_ups_a_second_in_each_region() -> None:
    slept: list[float] = []
    pace = trail.Pace(sleep=slept.append, clock=lambda: 100.0)
    for region in ("eu-west-1", "eu-west-1", "us-east-1", "eu-west-1"):
        pace(region)
    assert slept == [0.5, 1.0]


def test_p58_the_role_is_looked_up_in_every_region_and_one_attribute_a_call() -> None:
    instance = {"InstanceId": INSTANCE, "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1"}]}
    assert trail.look_ups(instance, "eu-west-1", ["us-east-1", "eu-west-1"]) == [
        ("eu-west-1", "ResourceName", INSTANCE), ("eu-west-1", "ResourceName", "eni-1"),
        ("eu-west-1", "Username", INSTANCE), ("us-east-1", "Username", INSTANCE)]
