# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each event is answered once and a day's budget is never exceeded, by conditional writes to a real S3."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter import events as filters
from ansible_collections.dfir.aws.plugins.module_utils import event_claim, event_request, registry, request_door
from ansible_collections.dfir.aws.plugins.module_utils.event_claim import EventError, Shelf, end, may_tell, take
from ansible_collections.dfir.aws.plugins.module_utils.registry import Caller, Refused
from ansible_collections.dfir.aws.plugins.modules import ec2_newest_snapshot_info

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
EVENT = {"event_id": "6f1cba5f-7b1c-4a0d-9d6e-0123456789ab", "event_time": "2026-01-31T11:59:00Z",
         "event_source": "aws.guardduty", "event_account": "123456789012", "event_region": "us-east-1",
         "event_resource": "i-0123456789abcdef0", "event_finding": "x"}
CALLER = Caller("cli", "dfir-controller", "arn:aws:iam::123456789012:user/dfir-controller", "123456789012")


@pytest.fixture
def shelf(aws: Any) -> Shelf:
    bucket = f"b-{uuid.uuid4().hex}"
    aws("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return Shelf(aws("s3"), bucket)


def key(number: int) -> str:
    return f"{number:016x}"


def taken(shelf: Shelf, number: int, holder: str = "me", *, now: datetime = NOW, budget: int = 3, **more: Any
          ) -> event_claim.Taken:
    return take(shelf, key(number), EVENT, holder, now, budget=budget, lease_minutes=60, **more)


def test_an_event_that_comes_again_is_answered_once_whatever_restarted(shelf: Shelf) -> None:
    first = taken(shelf, 1)
    assert first.mine and first.marker["slot"] == "budget/2026-01-31/1"
    assert not taken(shelf, 1, "another").mine, "somebody works on it"
    marker, changed = end(shelf, key(1), NOW, outcome="done", details={"snapshot_id": "snap-1"})
    assert changed and marker["outcome"] == "done" and marker["event"] == EVENT
    for later in (NOW, NOW + timedelta(days=30)):
        again = taken(shelf, 1, "another", now=later)
        assert not again.mine and not again.changed and again.marker["outcome"] == "done"
    assert not end(shelf, key(1), NOW, outcome="failed")[1] and shelf.read(key(1))[0]["outcome"] == "done"
    assert shelf.slots("budget/2026-01-31") == {1}


def test_a_dead_runs_event_is_taken_over_with_its_slot(shelf: Shelf) -> None:
    assert taken(shelf, 1).mine and not taken(shelf, 1, "next", now=NOW + timedelta(minutes=59)).mine
    over = taken(shelf, 1, "next", now=NOW + timedelta(minutes=61))
    assert over.mine and over.marker["holder"] == "next" and shelf.slots("budget/2026-01-31") == {1}


def test_many_at_once_never_get_more_than_the_budget(shelf: Shelf) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: taken(shelf, number, f"run-{number}"), range(12)))
    assert sum(answer.mine for answer in answers) == 3 and shelf.slots("budget/2026-01-31") == {1, 2, 3}
    assert all("budget of 3 events a day" in answer.refusal for answer in answers if not answer.mine)
    assert taken(shelf, 99, now=NOW + timedelta(days=1)).mine, "the next day has its own"


def test_two_runs_that_race_for_one_event(shelf: Shelf) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: taken(shelf, 1, f"run-{number}"), range(8)))
    assert sum(answer.mine for answer in answers) == 1 and not any(answer.refusal for answer in answers)


def test_check_mode_writes_nothing(shelf: Shelf) -> None:
    would = taken(shelf, 1, write=False)
    assert would.mine and would.changed and shelf.read(key(1)) == (None, "")
    assert taken(shelf, 1, budget=0, write=False).refusal
    assert end(shelf, key(1), NOW, outcome="refused", write=False)[1] and shelf.read(key(1)) == (None, "")


def test_a_flood_of_refusals_is_told_of_so_many_times_a_day(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_claim, "MAILS", 2)
    assert [may_tell(shelf, key(number), NOW) for number in range(4)] == [True, True, False, False]
    assert may_tell(shelf, key(5), NOW + timedelta(days=1))


def test_what_is_no_marker_is_left_alone(shelf: Shelf) -> None:
    shelf.write(key(1), {"format": 7})
    with pytest.raises(EventError, match="is no marker of this project"):
        taken(shelf, 1)
    with pytest.raises(EventError, match="there is no bucket"):
        taken(Shelf(shelf._client, "b-nowhere"), 1)


@pytest.mark.parametrize(("minutes", "said"), [(-61, "none is answered after 60 minutes"), (6, "still to come")])
def test_an_event_of_another_time_is_refused(minutes: int, said: str) -> None:
    made = (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with pytest.raises(Refused, match=said):
        event_request.refuse_by_age({**EVENT, "event_time": made}, NOW, 60)
    event_request.refuse_by_age(EVENT, NOW, 60)
    with pytest.raises(Refused, match="is no time"):
        event_request.refuse_by_age({**EVENT, "event_time": "2026-02-31T12:00:00Z"}, NOW, 60)


def test_an_event_may_what_its_entry_of_the_registry_may(analysts: list[dict[str, Any]]) -> None:
    values = event_request.values(EVENT, "events", "EVENT")
    spec = event_request.build(EVENT, values, analysts, CALLER, bucket="b", now=NOW)
    assert spec["analyst"]["uid"] == "events" and spec["incident"].startswith("EVENT-20260131-")
    assert spec["snapshots"][0]["id"] == EVENT["event_resource"] and spec["analysis_region"] == "us-east-1"
    found = filters.event_snapshot(spec, {"snapshot_id": "snap-0123456789abcdef0"})
    assert found["snapshots"][0]["artifact_prefix"] == f"{spec['incident']}/snap-0123456789abcdef0/"
    assert found["request_id"] == spec["request_id"]
    for event, caller, prefix, field in (
            (EVENT, CALLER, "INC", "incident"), ({**EVENT, "event_region": "eu-central-1"}, CALLER, "EVENT", "region"),
            ({**EVENT, "event_account": "210987654321"}, CALLER, "EVENT", "event_account"),
            (EVENT, CALLER._replace(account="210987654321"), "EVENT", "account")):
        with pytest.raises(Refused, match=field):
            event_request.build(event, event_request.values(event, "events", prefix), analysts, caller, bucket="b",
                                now=NOW)
    with pytest.raises(Refused, match="dfir_aws_event_analyst"):
        event_request.values(EVENT, "", "EVENT")
    with pytest.raises(registry.RegistryError, match="settings for events"):
        event_request.values(EVENT, "events", "../x")


def test_refusals_are_noted_under_their_id_and_mistakes_of_ours_are_not() -> None:
    refusal = filters.event_refusal({"msg": "no", "refused": True, "key": key(7)}, "requests")
    assert refusal["key"] == refusal["request"]["request_id"] == key(7) and not refusal["tell"]
    ours = filters.event_refusal({"msg": "S3 is down", "refused": False, "key": key(7)}, "requests")
    assert ours["key"] == "" and ours["tell"], "the sender's next try is answered"
    unfit = filters.event_unfit({"event_door": "findings", "event_reason": "no_resource"})
    assert unfit["request"]["request_id"] == "unknown" and unfit["key"] and "EventBridge" in unfit["reason"]


def test_p45_what_a_rulebook_adds_by_itself_may_come_and_nothing_else_of_its_kind() -> None:
    assert request_door.refused_names({"ansible_eda": {}}, on_platform=False) == []
    for name in ("ansible_eda_x", "ansible_host", "event_result", "answer_event_refusal", "event_id"):
        assert request_door.refused_names({name: ""}, on_platform=False)


def test_the_newest_snapshot_of_the_root_volume(aws: Any) -> None:
    ec2 = aws("ec2")
    image = ec2.register_image(Name=uuid.uuid4().hex, RootDeviceName="/dev/xvda", VirtualizationType="hvm")["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    there, volume = ec2_newest_snapshot_info.root_volume(ec2, instance)
    assert there and volume
    none = ec2_newest_snapshot_info.find(ec2, instance, "eu-west-1")
    assert none["snapshot_id"] == "" and volume in none["reason"]
    made = [ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(3)]
    other = ec2.create_volume(Size=1, AvailabilityZone="eu-west-1a")["VolumeId"]
    ec2.create_snapshot(VolumeId=other)
    times = {item["SnapshotId"]: item["StartTime"] for item in ec2.describe_snapshots(SnapshotIds=made)["Snapshots"]}
    found = ec2_newest_snapshot_info.find(ec2, instance, "eu-west-1")
    assert found["snapshot_id"] == max(made, key=lambda name: (times[name], name)) and found["reason"] == ""
    gone = ec2_newest_snapshot_info.find(ec2, "i-0123456789abcdef0", "eu-west-1")
    assert "no instance i-0123456789abcdef0" in gone["reason"] and json.dumps(gone)
