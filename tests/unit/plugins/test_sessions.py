# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for a session: addresses of the case's artifacts, and how far an extension is honoured."""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.filter import sessions
from ansible_collections.dfir.aws.plugins.module_utils import request_fields, request_spec, waits
from ansible_collections.dfir.aws.plugins.module_utils.extension import end_of, extended_until
from ansible_collections.dfir.aws.plugins.module_utils.registry import Caller
from ansible_collections.dfir.aws.plugins.modules import artifact_urls_info
from ansible_collections.dfir.aws.plugins.plugin_utils.progress import Progress, ProgressAction

from tests.plain_aws import plain_aws
from tests.unit.lab.aws_kit import Kit, code

FOLDER = Path(sessions.__file__).parent
POLICY = json.loads((FOLDER.parents[1] / "docs/iam/controller-policy.json").read_text(encoding="utf-8"))
REGION, BUCKET, PREFIX = "eu-west-1", "dfir-artifacts", "INC-1/snap-0123456789abcdef0/"
LATEST = "2026-11-20T20:00:00Z"


@pytest.mark.parametrize("name", sessions.FilterModule().filters())
def test_every_filter_has_its_documentation(name: str) -> None:
    document = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    assert document["DOCUMENTATION"]["name"] == name and document["EXAMPLES"] and document["RETURN"]


@pytest.mark.parametrize(("names", "latest", "until"), [
    ([], LATEST, ""),
    (["complete.json", "extended-until-20261120T150000Z.json"], LATEST, "2026-11-20T15:00:00Z"),
    (["extended-until-20261120T150000Z.json", "extended-until-20261120T170000Z.json"], LATEST, "2026-11-20T17:00:00Z"),
    (["extended-until-20990101T000000Z.json"], LATEST, LATEST),  # malware on the host can write it, too
    (["extended-until-20261120T150000Z.json"], "", ""),  # nothing was allowed
    (["extended-until-20261199T150000Z.json", "extended-until-soon.json", "x-extended-until-20261120T150000Z.json",
      "extended-until-20261120T150000Z.json\n"], LATEST, ""),
])
def test_a_marker_is_honoured_up_to_what_the_request_allows(names: list[str], latest: str, until: str) -> None:
    assert extended_until(names, latest) == until


def test_an_extension_never_makes_a_host_end_earlier() -> None:
    assert end_of("2026-11-20T15:00:00Z", "2026-11-20T14:00:00Z") == "2026-11-20T15:00:00Z"
    assert end_of("2026-11-20T15:00:00Z", "") == "2026-11-20T15:00:00Z"
    assert end_of("2026-11-20T15:00:00Z", LATEST) == LATEST


class Waiting(ProgressAction):
    """The action without Ansible around it."""

    def __init__(self) -> None:
        pass

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        raise NotImplementedError


def test_a_wait_goes_on_for_a_host_that_was_prolonged_and_no_longer() -> None:
    now = [0.0]
    progress = Progress(lambda _line: None, "artifacts", clock=lambda: now[0])

    def ask(_elapsed: float, _before: dict[str, Any]) -> dict[str, Any]:
        now[0] += 10
        return {"extended_until": "later" if now[0] > 50 else ""}

    def left(seen: dict[str, Any]) -> float:
        return 300 - now[0] if seen["extended_until"] else 0

    result = Waiting().run_in_slices(ask, progress, timeout=100, prolong=left)
    assert result["timed_out"] and now[0] == 300


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with plain_aws() as running:
        yield running.url


@pytest.fixture
def s3(endpoint: str) -> Any:
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).read()
    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id="x",
                          aws_secret_access_key="x")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


def look(s3: Any, latest: str = LATEST) -> waits.Look:
    return waits.artifacts(waits.Wait({"bucket": BUCKET, "prefix": PREFIX, "latest": latest}, lambda _service: s3))


def test_a_look_tells_extension_and_what_is_saved_of_the_analysts_folder(s3: Any) -> None:
    assert look(s3).data["analyst"] == {"files": 0, "bytes": 0, "saved_at": ""}
    for name in ("analyst/note.txt", "analyst/case/{{ hostile }}\x1b", "extended-until-20261120T150000Z.json",
                 "run-0123456789abcdef/analyst/of-another-attempt"):
        s3.put_object(Bucket=BUCKET, Key=PREFIX + name, Body=b"12345")
    seen = look(s3)
    assert (seen.data["analyst"]["files"], seen.data["analyst"]["bytes"]) == (2, 10)
    assert datetime.now(timezone.utc) - request_spec.parse_iso(seen.data["analyst"]["saved_at"]) < timedelta(minutes=5)
    assert seen.data["extended_until"] == "2026-11-20T15:00:00Z" and not seen.final
    assert look(s3, "").data["extended_until"] == "" and "hostile" not in json.dumps(seen.data)


def sign(endpoint: str, **arguments: Any) -> dict[str, Any]:
    """What the module returns, or how it fails."""
    given = {"endpoint_url": endpoint, "region": REGION, "access_key": "x", "secret_key": "x", "bucket": BUCKET}
    found: dict[str, Any] = {}

    def leave(_module: Any, **result: Any) -> None:
        found.update(result)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch, patch_module_args({**given, **arguments}):
        patch.setattr("ansible.module_utils.basic.AnsibleModule.exit_json", leave)
        patch.setattr("ansible.module_utils.basic.AnsibleModule.fail_json",
                      lambda module, msg, **result: leave(module, failed=True, msg=msg, **result))
        with pytest.raises(SystemExit):
            artifact_urls_info.main()
    return found


def test_p15_this_incidents_artifacts_are_offered_and_no_neighbors(s3: Any, endpoint: str) -> None:
    for key in ("INC-1/snap-1/a.plaso", "INC-1/snap-2/run-1/b.plaso", "INC-1/snap-1/image/manifest", "INC-10/snap-1/c",
                "INC-1-x/snap-1/d", "requests/1.json", "INC-1/snap-1/"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    found = sign(endpoint, prefix="INC-1/", exclude=["*/image/*"])
    assert [item["key"] for item in found["urls"]] == ["INC-1/snap-1/a.plaso", "INC-1/snap-2/run-1/b.plaso"]
    assert all(urllib.request.urlopen(item["url"]).read() == item["key"].encode() for item in found["urls"])
    assert [item["size"] for item in found["urls"]] == [20, 26] and found["left_out"] == 0
    few = sign(endpoint, prefix="INC-1/", limit=1)
    assert len(few["urls"]) == 1 and few["left_out"] == 2
    for wrong in ("INC-1", "", "INC-1//"):
        assert "must end with one slash" in sign(endpoint, prefix=wrong)["msg"]
    assert sign(endpoint)["failed"] and sign(endpoint, prefix="a/", keys=["b"])["failed"]


def test_p28_the_controller_can_lend_artifacts_and_not_read_them_itself(tmp_path: Path) -> None:
    """Its real policy, decided on by the lab: the address works, the same request with a signed header does not."""
    kit = Kit(tmp_path)
    try:
        admin = kit.client("s3")
        admin.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for key in (f"{PREFIX}vol-1p1.plaso", "requests/snap.json", "toolbox/tools.tar", "other.txt"):
            admin.put_object(Bucket=BUCKET, Key=key, Body=b"content")
        lends = [json.loads(json.dumps(item).replace("ARTIFACT_BUCKET", BUCKET)) for item in POLICY["Statement"]
                 if item["Sid"] == "LendArtifactsOfACase"]
        mine = kit.client("s3", keys=kit.user("controller", *lends))
        artifact = {"Bucket": BUCKET, "Key": f"{PREFIX}vol-1p1.plaso"}
        assert code(mine.get_object, **artifact) == "AccessDenied"
        address = mine.generate_presigned_url("get_object", Params=artifact, ExpiresIn=60)
        assert urllib.request.urlopen(address).read() == b"content"
        ranged = urllib.request.Request(address, headers={"Range": "bytes=3-"})
        answer = urllib.request.urlopen(ranged)
        assert (answer.status, answer.headers["Content-Range"], answer.read()) == (206, "bytes 3-6/7", b"tent")
        for key in ("requests/snap.json", "toolbox/tools.tar", "other.txt"):
            other = mine.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(other)
    finally:
        kit.close()


VALUES = {"analyst_uid": "alice", "incident": "INC-1", "aws_analysis_region": REGION,
          "aws_snapshot_id": "snap-0123456789abcdef0", "aws_snapshot_region": "us-east-1", "forensics_mode": "manual",
          "time_limit_hours": "4", "max_hours": "9", "attempt": "2", "wait_for_results": "false"}


def spec() -> dict[str, Any]:
    values, problems = request_fields.check(VALUES)
    assert problems == []
    analyst = {"uid": "alice", "name": "Alice", "email": "a@example.org", "cidrs": []}
    caller = Caller("cli", "x", "arn:aws:iam::123456789012:user/x", "123456789012")
    return request_spec.build(values, analyst, caller, bucket=BUCKET, now=datetime.now(timezone.utc))


def test_the_command_on_the_host_names_the_very_request() -> None:
    request = spec()
    words = shlex.split(sessions.renew_command(request))
    assert words[:4] == ["ansible-playbook", "-i", "INVENTORY", "playbooks/renew_artifact_urls.yml"]
    values, problems = request_fields.check(json.loads(words[-1]))
    assert problems == [] and request_spec.identity("123456789012", "alice", values) == request["request_id"]
    assert (FOLDER.parents[1] / words[3]).is_file()
    offer = sessions.artifact_offer(request, {"expires_at": LATEST, "left_out": 1, "urls": [{"key": "k"}]})
    assert offer["renew"] == sessions.renew_command(request) and offer["objects"] == [{"key": "k"}]


HOST = {"instance_id": "i-1", "address": "10.0.0.5", "known_hosts": ["10.0.0.5 ssh-ed25519 AAAA"], "user": "dfir"}
RECORD = {"state": "open", "outcome": None, "request": {"artifact_prefix": "kept/"}, "steps": [
    {"name": "analysis_host", "outcome": "ok", "details": HOST},
    {"name": "forensics", "outcome": "ok", "details": {"started": True}}]}


@pytest.mark.parametrize(("record", "words"), [
    ({}, "was never made"), ({**RECORD, "state": "finished", "outcome": "ended"}, "has ended as 'ended'"),
    ({**RECORD, "steps": []}, "no host that is ready"), ({**RECORD, "steps": RECORD["steps"][:1]}, "no host"),
])
def test_without_a_host_there_is_one_sentence(record: dict[str, Any], words: str) -> None:
    assert words in sessions.session_host(spec(), record, REGION)["problem"]


def test_the_record_knows_the_host_and_its_keys() -> None:
    found = sessions.session_host(spec(), RECORD, REGION)
    assert found["problem"] == "" and found["host"] == HOST
    assert found["request"]["record"] == {"bucket": BUCKET, "region": REGION, "request_id": spec()["request_id"]}
