# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies that are found and deleted, on an AWS that decides by the policy in docs/iam."""

from __future__ import annotations

import functools
import importlib
import io
import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils import retention_find
from ansible_collections.dfir.aws.plugins.module_utils.retention import Cases
from botocore.exceptions import ClientError

from lab import seed
from lab.aws import moto_app
from tests.retention_kit import AWAY, CLASSES, HOME, Asked, Copied, plant, put_record, snap
from tests.unit.lab.aws_kit import Kit, Recorder

pytestmark = pytest.mark.slow  # a whole account

BUCKET = "dfir-artifacts-123456789012"
PRICES = [{"item": "snapshot", "as_of": "today", "source": "x", "prices": {"us-east-1": 0.05, "eu-west-1": 0.1}}]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"), hosts=Recorder())
    kit.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": HOME})
    yield kit
    kit.close()


@pytest.fixture
def kit(account: Kit) -> Iterator[Kit]:
    """The account, emptied after each test."""
    yield account
    account.faults.clear()
    with suppress(ClientError):
        account.client("iam").delete_user_policy(UserName="retention", PolicyName="no")
    s3 = account.client("s3")
    for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents") or []:
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    for region in (HOME, AWAY):
        model = moto_app.ec2(region)
        for name in model.snapshots:
            model.tags.pop(name, None)
        model.snapshots.clear()
        for image in account.client("ec2", region).describe_images(Owners=["self"])["Images"]:
            account.client("ec2", region).deregister_image(ImageId=image["ImageId"])


@pytest.fixture(scope="module")
def run(account: Kit) -> Run:
    """Run a module in this process, as the identity that docs/iam/retention-policy.json describes."""
    kit = account
    keys = kit.user("retention", *json.loads(seed.document("retention-policy.json"))["Statement"])

    @functools.lru_cache
    def client(service: str, region: str) -> Any:
        return kit.client(service, region, keys)

    def call(module_name: str, /, check: bool = False, region: str = HOME, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{module_name}")
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.AwsModule, "client", lambda _self, name, region=region: client(name, region))
            with redirect_stdout(said), patch_module_args({"region": region, "_ansible_check_mode": check,
                                                           **arguments}), pytest.raises(SystemExit):
                module.main()
        return dict(json.loads(said.getvalue()))

    return call


def look(run: Run, **more: Any) -> dict[str, Any]:
    return run("ec2_expiring_snapshots_info", **{"bucket": BUCKET, "regions": [HOME, AWAY], "classes": CLASSES,
                                                 "prices": PRICES, **more})


def remove(run: Run, found: dict[str, Any], row: dict[str, Any], check: bool = False) -> dict[str, Any]:
    return run("ec2_expired_snapshot", check=check, region=row["region"], snapshot_id=row["id"], tags=row["tags"],
               request_ids=row["requests"], bucket=BUCKET, bucket_region=HOME, looked_at=found["looked_at"])


def exists(kit: Kit) -> set[str]:
    return {item["SnapshotId"] for region in (HOME, AWAY)
            for item in kit.client("ec2", region).describe_snapshots(OwnerIds=["self"])["Snapshots"]}


@pytest.fixture
def expired(kit: Kit, run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a look found, and the one copy that is to go."""
    plant("it", Copied())
    put_record(kit.client("s3"), BUCKET, Asked())
    found = look(run)
    [row] = found["expiring"]
    return found, row


def test_what_holds_a_copy_at_aws_is_told_and_the_rest_is_to_go(kit: Kit, run: Run) -> None:
    ec2, s3 = kit.client("ec2"), kit.client("s3")
    made = {name: plant(name, Copied(name)) for name in ("free", "locked", "shared", "public", "image", "evidence")}
    made["far"] = plant("far", Copied("far", region=AWAY, source_region=HOME))
    made["young"] = plant("young", Copied("young", expired=-1))
    made["evidence"] = plant("evidence", Copied("evidence", description="Disk of web-1"))
    for name in made:
        away = {"region": AWAY, "source_region": HOME} if name == "far" else {}
        put_record(s3, BUCKET, Asked(source=name, **away))
    ec2.lock_snapshot(SnapshotId=made["locked"], LockMode="governance", LockDuration=2)
    ec2.modify_snapshot_attribute(SnapshotId=made["shared"], Attribute="createVolumePermission", OperationType="add",
                                  UserIds=["999999999999"])
    ec2.modify_snapshot_attribute(SnapshotId=made["public"], Attribute="createVolumePermission", OperationType="add",
                                  GroupNames=["all"])
    image = ec2.register_image(Name="built", BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": made["image"]}}])["ImageId"]
    found = look(run)
    assert {row["id"] for row in found["expiring"]} == {made["free"], made["far"]}
    reasons = {row["id"]: row["reason"] for row in found["kept"]}
    assert set(reasons) == {made[name] for name in ("locked", "shared", "public", "image")}
    assert "locked (governance until" in reasons[made["locked"]] and image in reasons[made["image"]]
    assert reasons[made["shared"]] == "it is shared with the account 999999999999"
    assert "everybody" in reasons[made["public"]]
    assert [row["id"] for row in found["foreign"]] == [made["evidence"]]
    assert found["within"] == [{"region": HOME, "class": "cases", "code": "expires", "number": 1}]
    assert found["gib"] == 16 and found["saving"]["usd_at_most"] == pytest.approx(8 * 0.05 + 8 * 0.1)
    assert found["incidents"] == [{"incident": "INC-1", "class": "cases", "open": False}]
    # The lab has no Recycle Bin to ask: said, with the command for somebody who has one.
    assert {item["state"] for item in found["recycle_bin"]} == {"not checkable"}
    assert f"ResourceTagKey=dfir:source-region,ResourceTagValue={HOME}" in found["recycle_bin"][1]["command"]
    assert not found["changed"] and not found["unseen"]


def test_how_much_is_written_is_what_aws_says(kit: Kit, run: Run) -> None:
    volume = kit.client("ec2", AWAY).create_volume(AvailabilityZone=f"{AWAY}a", Size=4)["VolumeId"]
    with kit.store.volume_path(AWAY, volume).open("r+b") as disk:
        disk.write(b"x" * 2**20)
    source = kit.client("ec2", AWAY).create_snapshot(VolumeId=volume)["SnapshotId"]
    copied = Copied(expired=1)
    tags = {**copied.all_tags(), "dfir:source-snapshot": source, "Name": f"dfir-copy-{source}"}
    copy = kit.client("ec2").copy_snapshot(
        SourceRegion=AWAY, SourceSnapshotId=source, Description=f"Copy of {source} from {AWAY}", TagSpecifications=[
            {"ResourceType": "snapshot", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}])["SnapshotId"]
    put_record(kit.client("s3"), BUCKET, Asked("OVER-1", snapshot_id=source))
    [row] = look(run)["expiring"]
    assert row["id"] == copy and row["size_known"] and 0 < row["gib"] < 0.01 and row["volume_gib"] == 4


def test_copies_come_in_pages_and_no_page_is_kept(kit: Kit, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_find, "PAGE", 20)
    for number in range(80):
        plant(str(number), Copied(expired=-1 if number >= 3 else 90))
    for number in range(20):  # of others: AWS looks through them, and shows none
        plant(f"other {number}", Copied(tags=dict.fromkeys(("dfir:source-snapshot", "dfir:expires"))))
    put_record(kit.client("s3"), BUCKET, Asked())

    class Page(dict):  # type: ignore[type-arg]
        """A page that can be watched."""

    alive: list[Any] = []
    most: list[int] = []
    copies = retention_find.copies

    class Watched:
        """A client of EC2 whose pages are counted while they live."""

        def __init__(self, ec2: Any) -> None:
            self._ec2 = ec2

        def get_paginator(self, name: str) -> Any:
            return self if name == "describe_snapshots" else self._ec2.get_paginator(name)

        def paginate(self, **given: Any) -> Iterator[Page]:
            for answer in self._ec2.get_paginator("describe_snapshots").paginate(**given):
                page = Page(answer)
                alive.append(weakref.ref(page))
                del answer
                most.append(sum(one() is not None for one in alive))
                yield page
                del page

    monkeypatch.setattr(retention_find, "copies", lambda ec2: copies(Watched(ec2)))
    found = look(run, regions=[HOME])
    assert len(alive) == 4 and max(most) <= 2, "the page that is made while the last one is dropped"
    assert len(found["expiring"]) == 3 and found["within"] == [
        {"region": HOME, "class": "cases", "code": "expires", "number": 77}]


def test_a_region_that_cannot_be_asked_is_told_and_the_others_are_looked_at(kit: Kit, run: Run) -> None:
    plant("here", Copied())
    plant("there", Copied("far", region=AWAY, source_region=HOME))
    s3 = kit.client("s3")
    put_record(s3, BUCKET, Asked())
    put_record(s3, BUCKET, Asked(source="far", region=AWAY, source_region=HOME))
    for action in ("DescribeSnapshots", "DescribeLockedSnapshots"):
        kit.faults.arm("aws.throttle", times=None, match={"service": "ec2", "region": AWAY, "action": action})
        found = look(run)
        kit.faults.clear()
        assert [item["place"] for item in found["unseen"]] == [AWAY] and found["looked"] == [HOME]
        assert [row["region"] for row in found["expiring"]] == [HOME]


def test_a_record_that_cannot_be_read_keeps_everything(kit: Kit, run: Run) -> None:
    plant("it", Copied())
    s3 = kit.client("s3")
    put_record(s3, BUCKET, Asked())
    s3.put_object(Bucket=BUCKET, Key="requests/0123456789abcdef.json", Body=b"[")
    found = look(run)
    assert found["expiring"] == [] and found["unreadable"] == ["requests/0123456789abcdef.json"]
    assert "requests/0123456789abcdef.json cannot be read" in found["kept"][0]["reason"]


def test_wrong_classes_and_prices_are_said_before_anything_is_asked(kit: Kit, run: Run) -> None:
    kit.faults.arm("aws.throttle", times=None, match={"service": "*"})
    for given, words in (({"classes": [{"name": "x", "incidents": ["*"]}]}, "retention class 'x'"),
                         ({"prices": [{"item": "?"}]}, "of the prices"), ({"bin_days": 400}, "bin_days")):
        refused = look(run, **given)
        assert refused["failed"] and words in refused["msg"]


def test_a_copy_is_deleted_once_and_check_mode_deletes_nothing(kit: Kit, run: Run, expired: Any) -> None:
    found, row = expired
    before = exists(kit)
    checked = remove(run, found, row, check=True)
    assert checked["changed"] and not checked["gone"] and exists(kit) == before
    done = remove(run, found, row)
    assert done["changed"] and done["left"] == "" and exists(kit) == before - {row["id"]}
    again = remove(run, found, row)
    assert again["gone"] and not again["changed"] and not again.get("failed")
    assert look(run)["expiring"] == []


@pytest.mark.parametrize("changed", [{"dfir:expires": "2999-01-01T00:00:00Z"}, {"dfir:legal-hold": "yes"},
                                     {"team": "blue"}, {"Name": "mine"}, {"aws": ""}])
def test_p38_a_tag_that_changed_after_the_look_keeps_a_copy(kit: Kit, run: Run, expired: Any,
                                                            changed: dict[str, str]) -> None:
    found, row = expired
    ec2 = kit.client("ec2")
    if "aws" in changed:
        ec2.delete_tags(Resources=[row["id"]], Tags=[{"Key": "dfir:source-region"}])
    else:
        ec2.create_tags(Resources=[row["id"]], Tags=[{"Key": k, "Value": v} for k, v in changed.items()])
    result = remove(run, found, row)
    assert not result["changed"] and "is left alone" in result["left"] and not result.get("failed")
    assert row["id"] in exists(kit)


@pytest.mark.parametrize("how", ["opened again", "another request", "unreadable", "gone", "shared"])
def test_a_request_that_begins_after_the_look_keeps_a_copy(kit: Kit, run: Run, expired: Any, how: str) -> None:
    found, row = expired
    s3, key = kit.client("s3"), f"requests/{row['requests'][0]}.json"
    if how == "opened again":
        s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps({**Asked().record(), "state": "open"}))
        words = "is open and uses it"
    elif how == "another request":
        put_record(s3, BUCKET, Asked("INC-2", state="open", days=0))
        words = "other ones now"
    elif how == "unreadable":
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
        words = "cannot be read"
    elif how == "gone":
        s3.delete_object(Bucket=BUCKET, Key=key)
        words = "is gone"
    else:
        kit.client("ec2").modify_snapshot_attribute(
            SnapshotId=row["id"], Attribute="createVolumePermission", OperationType="add", UserIds=["999999999999"])
        words = "it is shared with the account 999999999999"
    result = remove(run, found, row)
    assert words in result["left"] and row["id"] in exists(kit)


def test_another_request_for_something_else_is_no_reason(kit: Kit, run: Run, expired: Any) -> None:
    found, row = expired
    put_record(kit.client("s3"), BUCKET, Asked("INC-2", source="db", state="open", days=0))
    assert remove(run, found, row)["changed"]


@pytest.mark.parametrize(("how", "words"), [
    ("image", "an image uses it: deregister the image first"), ("lock", "it is locked: it can be deleted when"),
    ("refused", "InternalError"), ("denied", "docs/iam/retention-policy.json")])
def test_p37_p38_what_aws_refuses_is_said_in_words(kit: Kit, run: Run, expired: Any, how: str, words: str) -> None:
    found, row = expired
    ec2 = kit.client("ec2")
    if how == "image":
        ec2.register_image(Name="built", BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": row["id"]}}])
    elif how == "lock":
        ec2.lock_snapshot(SnapshotId=row["id"], LockMode="compliance", LockDuration=2)
    elif how == "refused":
        kit.faults.arm("ec2.delete_refused", times=None, match={"snapshot": row["id"]})
    else:
        kit.client("iam").put_user_policy(UserName="retention", PolicyName="no", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [
                {"Effect": "Deny", "Action": "ec2:DeleteSnapshot", "Resource": "*"}]}))
    result = remove(run, found, row)
    assert result["failed"] and f"The snapshot {row['id']} could not be deleted" in result["msg"]
    assert words in result["msg"] and row["id"] in exists(kit)


def test_p38_the_policy_itself_deletes_no_hold_and_nothing_of_others(kit: Kit, run: Run) -> None:
    keys = kit.user("second", *json.loads(seed.document("retention-policy.json"))["Statement"])
    ec2 = kit.client("ec2", keys=keys)
    held = plant("held", Copied(tags={"dfir:legal-hold": "yes"}))
    others = plant("others", Copied(tags={"dfir:source-snapshot": None}))
    for name in (held, others):
        with pytest.raises(ec2.exceptions.ClientError, match="UnauthorizedOperation"):
            ec2.delete_snapshot(SnapshotId=name)
    assert {held, others} <= exists(kit)


def test_lifecycle_rules_are_set_once_and_those_of_others_stay(kit: Kit, run: Run) -> None:
    s3 = kit.client("s3")
    theirs = {"ID": "theirs", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 7}}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [theirs]})
    classes = [{"name": "all", "incidents": ["*"], "keep_days": 1,
                "artifacts": {"archive_days": 90, "expire_days": 400}}]

    def rules(*, closed: tuple[str, ...] = ("INC-1", "INC-2"), check: bool = False, **more: Any) -> dict[str, Any]:
        incidents = [{"incident": name, "open": name not in closed} for name in ("INC-1", "INC-2")]
        return run("s3_retention_lifecycle", check=check, bucket=BUCKET, classes=classes, incidents=incidents, **more)

    def there() -> list[str]:
        return [rule["ID"] for rule in s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]]

    told = rules()
    assert told["missing"] == ["INC-1", "INC-2"] and not told["changed"] and there() == ["theirs"]
    checked_only = rules(check=True, apply=True)
    assert checked_only["changed"] and there() == ["theirs"]
    assert rules(apply=True)["changed"]
    assert there() == ["theirs", "dfir-retention-INC-1", "dfir-retention-INC-2"]
    again = rules(apply=True)
    assert not again["changed"] and not again["missing"] and not again["differing"] and not again["surplus"]
    # A case that is open again: its rule is surplus, and goes.
    assert rules(closed=("INC-1",))["surplus"] == ["INC-2"]
    assert rules(closed=("INC-1",), apply=True)["changed"] and there() == ["theirs", "dfir-retention-INC-1"]
    assert s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"][0] == theirs
    assert "must be 1 at least" in rules(noncurrent_days=0)["msg"]
    # Without rules of anybody's the bucket has no configuration at all.
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [
        {**theirs, "ID": "dfir-retention-INC-9"}]})
    assert rules(closed=(), apply=True)["changed"] and rules(closed=())["rules"] == []
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        there()


class Bin:
    """A Recycle Bin as boto3 shows it: none can be run here."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self._rules = {str(number): {"Status": "available", **rule} for number, rule in enumerate(rules)}

    def get_paginator(self, name: str) -> Any:
        assert name == "list_rules"
        return self

    def paginate(self, **given: Any) -> Iterator[dict[str, Any]]:
        assert given == {"ResourceType": "EBS_SNAPSHOT"}
        for number in self._rules:
            yield {"Rules": [{"Identifier": number}]}

    def get_rule(self, Identifier: str) -> dict[str, Any]:
        return self._rules[Identifier]


def tag(key: str, value: str) -> dict[str, str]:
    return {"ResourceTagKey": key, "ResourceTagValue": value}


@pytest.mark.parametrize(("rules", "state"), [
    ([], "missing"), ([{}], "covered"), ([{"Status": "pending"}], "missing"),
    ([{"ExcludeResourceTags": [tag("team", "x")]}], "covered"),
    ([{"ExcludeResourceTags": [tag("dfir:source-region", HOME)]}], "missing"),
    ([{"ResourceTags": [tag("team", "x")]}], "missing"),
    ([{"ResourceTags": [tag("dfir:source-region", HOME)]}], "missing"),
    ([{"ResourceTags": [tag("dfir:source-region", HOME)]}, {"ResourceTags": [tag("dfir:source-region", AWAY)]}],
     "covered")])
def test_a_recycle_bin_covers_all_or_is_missing(rules: list[dict[str, Any]], state: str) -> None:
    told = retention_find.recycle_bin(Bin(*rules), HOME, [AWAY, HOME])
    assert told["state"] == state and told["command"].startswith(f"aws rbin create-rule --region {HOME} ")


def test_records_are_read_a_few_at_a_time(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = kit.client("s3")
    for number in range(retention_find.WINDOW + 3):
        put_record(s3, BUCKET, Asked(f"INC-{number}"))
    cases: Cases = retention_find.cases(s3, BUCKET)
    assert len(cases.closed_incidents) == retention_find.WINDOW + 3 and not cases.unreadable
    assert len(cases.uses[snap("web"), AWAY, HOME]) == retention_find.WINDOW + 3
