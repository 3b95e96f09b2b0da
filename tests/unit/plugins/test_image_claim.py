# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims on snapshots, against the lab's bucket with the policy that operators are given."""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils import image_claim
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import Cancelled
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import Work
from ansible_collections.dfir.aws.plugins.module_utils.image_claim import Renewal, Shelf, end, take_next

from lab.aws.account import ADMIN
from tests.unit.lab.aws_kit import REGION, Kit, Recorder, eventually

pytestmark = pytest.mark.slow  # processes of their own

ROOT = Path(__file__).resolve().parents[3]
BUCKET, ACCOUNT = "dfir-claims", "123456789012"
ONE, TWO, THREE = (f"snap-0000000000000000{number}" for number in (1, 2, 3))
IMAGE = {"size": 1 << 30, "blocks": 3}


def document(name: str) -> dict[str, Any]:
    text = (ROOT / "docs" / "iam" / name).read_text().replace("ARTIFACT_BUCKET", BUCKET).replace("ACCOUNT_ID", ACCOUNT)
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"), hosts=Recorder())
    s3 = kit.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(document("artifact-bucket-policy.json")))
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def keys(kit: Kit) -> tuple[str, str]:
    """Somebody with an imaging host's rights."""
    return kit.user("imaging-host", *document("imaging-host-policy.json")["Statement"])


@pytest.fixture
def shelf(kit: Kit, keys: tuple[str, str]) -> Shelf:
    return Shelf(kit.client("s3", keys=keys), BUCKET)


@pytest.fixture
def incident(request: pytest.FixtureRequest) -> str:
    return f"INC-{abs(hash(request.node.name)) % 10**8}"


def taken(shelf: Shelf, incident: str, holder: str, *snapshots: str, lease: int = 300) -> str:
    claim, _claims = take_next(shelf, incident, snapshots, holder, lease)
    return claim["snapshot_id"] if claim else ""


def test_hosts_that_ask_at_once_never_get_the_same_snapshot(kit: Kit, keys: tuple[str, str], incident: str) -> None:
    snapshots = [f"snap-{number:017x}" for number in range(6)]
    shelves = [Shelf(kit.client("s3", keys=keys), BUCKET) for _ in range(4)]

    def work(number: int) -> list[str]:
        mine: list[str] = []
        while name := taken(shelves[number], incident, f"h{number}", *snapshots):
            end(shelves[number], incident, name, f"h{number}", image=IMAGE)
            mine.append(name)
        return mine

    with ThreadPoolExecutor(4) as pool:
        done = [name for names in pool.map(work, range(4)) for name in names]
    assert sorted(done) == snapshots


def test_a_claim_is_held_until_it_runs_out_and_is_then_taken_over(shelf: Shelf, incident: str) -> None:
    assert taken(shelf, incident, "a", ONE, lease=1) == ONE
    assert taken(shelf, incident, "b", ONE) == ""
    eventually(lambda: taken(shelf, incident, "b", ONE) == ONE)
    claim = shelf.read(incident, ONE).content
    assert claim["holder"] == "b" and [item["from"] for item in claim["taken_over"]] == ["a"]
    with pytest.raises(image_claim.ClaimError, match="is held by b by now"):
        end(shelf, incident, ONE, "a", image=IMAGE)
    assert end(shelf, incident, ONE, "a", failure="too late")[1] is False, "and a's failure is not b's"
    assert end(shelf, incident, ONE, "b", image=IMAGE)[1] is True
    assert end(shelf, incident, ONE, "b", image=IMAGE)[1] is False, "saying it twice is no change"
    assert taken(shelf, incident, "a", ONE, lease=1) == "", "what is done is never begun again"


def test_age_is_told_by_the_bucket_alone(shelf: Shelf, incident: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is a day ahead takes nothing that is held."""
    assert taken(shelf, incident, "a", ONE) == ONE

    class Ahead(image_claim.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz).replace(year=2199)

    monkeypatch.setattr(image_claim, "datetime", Ahead)
    assert shelf.read(incident, ONE).age < 60 and taken(shelf, incident, "b", ONE) == ""


def test_a_renewed_claim_does_not_run_out_and_one_taken_away_is_noticed(shelf: Shelf, incident: str) -> None:
    assert taken(shelf, incident, "a", ONE, lease=2) == ONE
    turns: list[float] = []
    go, went = threading.Semaphore(0), threading.Semaphore(0)

    def pause(seconds: float) -> bool:
        turns.append(seconds)
        went.release()
        go.acquire()
        return False

    renewal = Renewal(shelf, incident, ONE, "a", pause=pause)
    for _ in range(4):
        time.sleep(1.1)
        assert taken(shelf, incident, "b", ONE) == ""
        went.acquire()
        go.release()
    assert turns[0] == pytest.approx(2 / 3), "three times within a lease"
    eventually(lambda: taken(shelf, incident, "b", ONE) == ONE)
    go.release()
    eventually(lambda: renewal.lost)
    assert renewal.lost == f"the claim on {ONE} is held by b by now"
    renewal.close(give_back=True)
    assert shelf.read(incident, ONE).content["holder"] == "b", "nobody gives back what is not theirs"


def test_a_failed_snapshot_is_left_to_other_hosts_and_to_later_runs(shelf: Shelf, incident: str) -> None:
    assert taken(shelf, incident, "a", ONE, TWO) == ONE
    claim, changed = end(shelf, incident, ONE, "a", failure="disk full")
    assert changed and claim["state"] == "open" and claim["failures"][0]["reason"] == "disk full"
    assert taken(shelf, incident, "a", ONE, TWO) == TWO
    end(shelf, incident, TWO, "a", image=IMAGE)
    assert taken(shelf, incident, "a", ONE, TWO) == ""
    assert taken(shelf, incident, "b", ONE, TWO) == ONE


def test_what_is_given_back_is_free_at_once(shelf: Shelf, incident: str) -> None:
    assert taken(shelf, incident, "a", ONE) == ONE
    Renewal(shelf, incident, ONE, "a").close(give_back=True)
    assert taken(shelf, incident, "b", ONE) == ONE


def test_what_is_no_claim_is_not_taken_for_one(kit: Kit, shelf: Shelf, incident: str) -> None:
    for body in (b"no json", b'{"format": 1}', json.dumps(image_claim.fresh("OTHER", ONE)).encode()):
        key = image_claim.claim_key(incident, ONE)
        found = kit.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents")
        condition = {"IfMatch": found[0]["ETag"]} if found else {"IfNoneMatch": "*"}
        kit.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body, **condition)
        with pytest.raises(image_claim.ClaimError, match="is no claim of this project"):
            shelf.read(incident, ONE)


def test_claims_change_by_compare_and_swap_alone_and_nothing_else_is_open_to_a_host(
        kit: Kit, keys: tuple[str, str], shelf: Shelf, incident: str) -> None:
    assert taken(shelf, incident, "a", ONE) == ONE
    s3 = kit.client("s3", keys=keys)
    key = image_claim.claim_key(incident, ONE)
    for target in (key, "requests/0123456789abcdef.json", "toolbox/x", f"claims/{incident}/summary-1.json",
                   f"{incident}/{ONE}/findings.json"):
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            s3.put_object(Bucket=BUCKET, Key=target, Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key=f"{incident}/{ONE}/image/segments/1", Body=b"", IfNoneMatch="*")
    with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
        s3.get_object(Bucket=BUCKET, Key=f"{incident}/{ONE}/findings.json")


class Ended(Exception):
    """What a module says at its end."""


def module(**claim: Any) -> Any:
    def fail(**result: Any) -> None:
        raise Ended(result)

    params = {"lease_file": None, "progress_file": None, "claim": {"bucket": BUCKET, **claim}}
    return SimpleNamespace(params=params, fail_json=fail, exit_json=fail)


def test_work_ends_when_its_claim_is_lost_and_gives_back_what_was_cancelled(shelf: Shelf, incident: str) -> None:
    assert taken(shelf, incident, "a", ONE) == ONE
    late = Work(module(incident=incident, snapshot_id=ONE, holder="z"))
    late.hold(shelf._client)
    assert late.stop()
    with pytest.raises(Ended, match="held by a by now"):
        late.run(lambda: {})
    work = Work(module(incident=incident, snapshot_id=ONE, holder="a"))
    work.hold(shelf._client)
    assert not work.stop()

    def cancelled() -> dict[str, Any]:
        raise Cancelled("It was ended")

    with pytest.raises(Ended, match="the same task goes on"):
        work.run(cancelled)
    assert taken(shelf, incident, "b", ONE) == ONE


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(kit: Kit, capsys: pytest.CaptureFixture[str], incident: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module in this process, as Ansible would."""
    claim_module = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.ebs_image_claim")
    keys = {"access_key": ADMIN[1], "secret_key": ADMIN[2], "region": REGION, "endpoint_url": kit.endpoint}

    def call(state: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        given = {**keys, "_ansible_check_mode": check, "state": state, "bucket": BUCKET, "incident": incident,
                 **arguments}  # fmt: skip
        with patch_module_args(given), pytest.raises(SystemExit):
            claim_module.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return call


def test_the_module_takes_ends_reads_and_tells(run: Run) -> None:
    three = [ONE, TWO, THREE]
    would = run("taken", check=True, holder="a", snapshot_ids=three)
    assert would["changed"] and would["snapshot_id"] == ""
    assert run("read", snapshot_ids=three)["claims"][0]["state"] == "open"
    assert run("taken", holder="a", snapshot_ids=three)["snapshot_id"] == ONE
    assert run("taken", holder="b", snapshot_ids=three)["snapshot_id"] == TWO
    assert run("done", holder="a", snapshot_id=ONE, image=IMAGE)["claim"]["image"] == IMAGE
    assert run("failed", holder="b", snapshot_id=TWO, reason="no luck")["changed"]
    assert run("taken", holder="b", snapshot_ids=three)["snapshot_id"] == THREE
    assert run("taken", holder="b", snapshot_ids=three[:2], wait=False)["snapshot_id"] == ""
    assert [claim["state"] for claim in run("read", snapshot_ids=three)["claims"]] == ["done", "open", "held"]
    assert not run("read", snapshot_ids=three, request_id="1")["told"]
    assert run("told", request_id="1")["changed"] and not run("told", request_id="1")["changed"]
    assert run("read", snapshot_ids=three, request_id="1")["told"]


def test_the_module_waits_for_what_others_hold_until_it_runs_out(run: Run) -> None:
    assert run("taken", holder="a", snapshot_ids=[ONE], lease_seconds=5)["snapshot_id"] == ONE
    assert run("taken", holder="b", snapshot_ids=[ONE], wait=False)["snapshot_id"] == ""
    assert run("taken", holder="b", snapshot_ids=[ONE], lease_seconds=5)["snapshot_id"] == ONE


@pytest.mark.parametrize(("state", "more", "said"), [
    ("taken", {"holder": "a", "snapshot_ids": [ONE], "lease_seconds": 4}, "at least 5"),
    ("done", {"holder": "a", "snapshot_id": ONE}, "must be said in image"),
    ("failed", {"holder": "a"}, "snapshot_id"),
    ("taken", {"holder": "a", "snapshot_ids": [ONE], "bucket": "nowhere"}, "set dfir_aws_artifact_bucket"),
])  # fmt: skip
def test_the_module_says_what_is_wrong(run: Run, state: str, more: dict[str, Any], said: str) -> None:
    result = run(state, **more)
    assert result["failed"] and said in result["msg"]
