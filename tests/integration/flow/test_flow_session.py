# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An analyst's session: artifacts come, work is kept; its end is moved, its disk is full, its controller is dead."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from datetime import datetime, timezone
from subprocess import CompletedProcess
from typing import Any

import pytest
import pyzipper

from tests.integration.flow.flow_kit import BUCKET, Request, Site, client, flat, together, until
from tests.integration.flow.host_kit import artifacts, ask_host, host, on_host
from tests.integration.flow.test_flow_restart import EVIDENCE
from tests.kit import run

OFFER = "/var/lib/dfir/artifacts.json"
TIMER = "systemctl show --property=NextElapseUSecRealtime --value dfir-deadman.timer"
PLASO = os.urandom(2 << 20)
SOON = 0.01  # hours: addresses have expired when the host is ready
# Everything, to the last block; what is allocated is not written, so the lab's own disk stays as it is. More than once:
# whoever else works on the host may give a block back in between.
FILL = ("sudo sh -c 'free() { df --output=avail -B1 /srv/dfir | tail -n 1; }; "
        "fallocate -l $(free) /srv/dfir/analyst/.full; for n in 1 2 3 4 5 6 7 8 9; do "
        "cat /dev/zero > /srv/dfir/analyst/.rest$n; test $(free) -gt 0 || break; sleep 1; done' 2>&1; "
        "df --output=avail -k /srv/dfir | tail -n 1")


def put(site: Site, key: str, data: bytes) -> None:
    """An artifact of an earlier analysis."""
    client(site.lab, "s3").put_object(Bucket=BUCKET, Key=key, Body=data, IfNoneMatch="*")
    site.planted.add(key)


def an_earlier_analysis(site: Site, incident: str) -> None:
    """Of another snapshot of the same case, with its list of hashes; and a neighbor, whose name begins the same."""
    sums = f"{hashlib.sha256(PLASO).hexdigest()}  vol-1p1.plaso\n".encode()
    marker = {"sha256sums_sha256": hashlib.sha256(sums).hexdigest(), "outcome": "complete"}
    folder = f"{incident}/snap-0aaaaaaaaaaaaaaaa"
    put(site, f"{folder}/vol-1p1.plaso", PLASO)
    put(site, f"{folder}/sha256sums.txt", sums)
    put(site, f"{folder}/complete.json", json.dumps(marker).encode())
    put(site, f"{folder}/image/manifest.json", b"no image is lent")
    put(site, f"{incident}-2/snap-0bbbbbbbbbbbbbbbb/secret.txt", b"of another case")


def renew(request: Request) -> CompletedProcess[str]:
    """What the sentence on the host says."""
    fields = request.folder / f"{request.incident}.json"
    fields.write_text(json.dumps(request.fields))
    return run("ansible-playbook", "-i", "inventories/lab", "playbooks/renew_artifact_urls.yml", "-e", f"@{fields}")


@pytest.mark.cell("forensics", "the disk of the host is full")
@pytest.mark.host
@together(minutes=5)
def test_an_analyst_gets_the_cases_artifacts_and_a_full_disk_costs_no_work(site: Site) -> None:
    request = site.request(**EVIDENCE, time_limit_hours=1, max_hours=2, wait_for_results=True,
                           overlay={"all": {"vars": {"dfir_aws_artifact_url_hours": SOON}}})
    an_earlier_analysis(site, request.incident)
    play = request.start()
    play.wait(lambda: request.mails)
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"], play.text[-3000:]
    for words in ("dfir-pull", "dfir-push --sample", "dfir-extend 2", "You may prolong it"):
        assert words in request.mails[0].text
    addresses_are_roots_alone_and_expire(request)
    renewed = renew(request)  # beside the run that waits
    assert renewed.returncode == 0 and "X-Amz-" not in renewed.stdout, renewed.stdout[-3000:]
    assert "3 artifacts of" in flat(renewed.stdout)
    said = on_host(request, "dfir-pull")
    assert "vol-1p1.plaso: 2097152 bytes (1 of 1), SHA-256 verified" in said and "3 of 3 artifacts" in said
    assert on_host(request, "sha256sum /srv/dfir/case/*/vol-1p1.plaso").split()[0] == hashlib.sha256(PLASO).hexdigest()
    assert "secret" not in on_host(request, "find /srv/dfir/case") + said
    assert "vol-1p1.plaso" in on_host(request, "dfir-shell ls /case/snap-0aaaaaaaaaaaaaaaa")

    notes_and_samples_arrive_at_once(request)
    # The disk is full, and the work goes on: what is written there is lost to the analyst, nothing else.
    on_host(request, "echo before the disk was full > /srv/dfir/analyst/before.txt")
    on_host(request, "sudo systemctl start dfir-upload.service; test -e /srv/dfir/.room")
    assert int(on_host(request, FILL).split()[-1]) == 0
    on_host(request, "dfir-push /srv/dfir/analyst/before.txt")
    on_host(request, "dfir-end")
    play.end()
    assert play.code == 0, play.text[-3000:]
    found = artifacts(request)
    marker = json.loads(found["complete.json"])
    assert (marker["outcome"], marker["missing"], marker["counts"]["analyst_unsaved"]) == ("ended", [], 0)
    assert found["analyst/before.txt"] == b"before the disk was full\n"
    mail = request.mails[-1]
    assert mail.subject.split()[1] == "ended:" and "analyst/: " in mail.text and "last saved at" in mail.text
    assert request.exists() == set() and request.record["outcome"] == "ended"


def addresses_are_roots_alone_and_expire(request: Request) -> None:
    """A credential is in one file of root's; when it has expired, one sentence says what renews it."""
    modes = on_host(request, f"sudo stat -c '%a %U' {OFFER} $(dirname {OFFER})")
    assert modes.split() == ["600", "root", "700", "root"]
    assert ask_host(request, f"cat {OFFER}")[0] != 0
    assert "X-Amz-Signature" not in json.dumps(request.record) + json.dumps(host(request)["Tags"])
    assert on_host(request, "sudo podman ps --all --quiet; sudo grep -rl X-Amz-Sig /etc /run/cloud-init || true") == ""

    def expired() -> bool:
        at = json.loads(on_host(request, f"sudo cat {OFFER}"))["expires_at"]
        return datetime.fromisoformat(at.replace("Z", "+00:00")) < datetime.now(timezone.utc)

    until(expired, "the end of the addresses")
    code, said = ask_host(request, "dfir-pull")
    assert code == 1 and said.startswith("The addresses of the case's artifacts have expired at "), said
    assert "renew_artifact_urls.yml" in said and request.incident in said and said.count("\n") == 1


def notes_and_samples_arrive_at_once(request: Request) -> None:
    on_host(request, "echo it was the web shell > note.txt; dfir-push note.txt")
    on_host(request, "echo and somebody else > note.txt; dfir-push note.txt")
    sample = on_host(request, "cat /evidence/vol-*/p1/etc/debian_version | tee -- '-rf x'").encode()
    digest = hashlib.sha256(sample).hexdigest()
    assert digest in on_host(request, "dfir-push --sample './-rf x'")
    found = artifacts(request)
    assert found["analyst/note.txt"] == b"it was the web shell\n"
    assert found["analyst/note.2.txt"] == b"and somebody else\n"
    with pyzipper.AESZipFile(io.BytesIO(found[f"analyst/samples/{digest}.zip"])) as archive:
        archive.setpassword(b"infected")
        assert {name: archive.read(name) for name in archive.namelist()} == {"_-rf_x": sample}
    code, said = ask_host(request, "dfir-push /nonexistent")
    assert code == 1 and "there is no file" in said


@pytest.mark.cell("results", "the controller is killed in a session that is prolonged")
@pytest.mark.more  # it lives longer than all others together: `make test-more`
@together(minutes=13)
def test_a_prolonged_session_outlives_its_deadline_and_its_controller(site: Site) -> None:
    """Until the moment that was asked for, not longer; and nobody who waits honours what malware could write."""
    request = site.request(**EVIDENCE, time_limit_hours=0.15, max_hours=0.21, wait_for_results=True)
    play = request.start()
    play.wait(lambda: request.mails)
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"], play.text[-3000:]
    tags: dict[str, Any] = {tag["Key"]: tag["Value"] for tag in host(request)["Tags"]}
    deadline, latest = (datetime.fromisoformat(tags[name].replace("Z", "+00:00"))
                        for name in ("dfir:deadline", "dfir:expires"))
    assert abs((latest - deadline).total_seconds() - 0.06 * 3600) < 2
    code, said = ask_host(request, "dfir-extend 1")
    assert code == 1 and "(max_hours): ask for 0.06 hours or less" in said, said
    assert on_host(request, TIMER).strip() == deadline.strftime("%a %Y-%m-%d %H:%M:%S UTC")
    assert "This host ends itself at" in on_host(request, "dfir-extend 0.05")
    moved = datetime.fromtimestamp(deadline.timestamp() + 180, timezone.utc)
    assert on_host(request, TIMER).strip() == moved.strftime("%a %Y-%m-%d %H:%M:%S UTC")
    [marker] = [name for name in artifacts(request) if name.startswith("extended-until-")]
    assert marker == f"extended-until-{moved:%Y%m%dT%H%M%SZ}.json"
    play.kill()

    put(site, f"{request.record['request']['artifact_prefix']}extended-until-20990101T000000Z.json", b"{}")
    on_host(request, "echo after the first deadline would be > /srv/dfir/analyst/late.txt")
    time.sleep(max(0.0, (deadline - datetime.now(timezone.utc)).total_seconds()))
    assert on_host(request, "systemctl is-active dfir-analysis.service").strip() == "active"
    until(lambda: host(request)["State"]["Name"] == "terminated", "the end of the host", 600)
    assert datetime.now(timezone.utc) >= deadline
    again = request.run()
    assert again.code == 0, again.text[-3000:]
    found = artifacts(request)
    assert found["analyst/late.txt"] == b"after the first deadline would be\n"
    assert json.loads(found["complete.json"])["outcome"] == "timeout"
    assert host(request)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert request.exists() == set() and request.record["outcome"] == "timeout"
