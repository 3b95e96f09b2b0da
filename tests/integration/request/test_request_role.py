# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door as ansible-playbook sees it: extra variables, rendering, check mode, leases, secrets, mails."""

from __future__ import annotations

import email
import email.policy
import json
import shlex
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.request_kit import SECRET, Run, flat, objects

PASSWORD = "a-password-that-nobody-prints"


def test_a_request_is_let_in_recorded_and_adopted(site: dict[str, Any], run: Run, table: dict[str, Any]) -> None:
    checked = run(table["valid"], "--check")
    assert checked.returncode == 0, checked.stdout
    assert objects(site) == [], "check mode must not write the record"
    first = run(table["valid"], "-vvv")
    assert first.returncode == 0, first.stdout
    assert SECRET not in first.stdout
    result = json.loads(site["result"].read_text())
    assert result["analyst"]["uid"] == "alice" and result["caller"]["kind"] == "cli" and not result["adopted"]
    folder = f"requests/folders/{result['artifact_prefix'].rstrip('/')}.json"
    assert sorted(objects(site)) == sorted([result["record_key"], folder])
    # The first process is dead by now: its lease keeps nobody out.
    second = run(table["valid"])
    assert second.returncode == 0, second.stdout
    again = json.loads(site["result"].read_text())
    assert again["adopted"] and again["request_id"] == result["request_id"] and again["holder"] != result["holder"]
    body = json.loads(site["s3"].get_object(Bucket=site["bucket"], Key=result["record_key"])["Body"].read())
    assert [entry["holder"] for entry in body["runs"]] == [result["holder"], again["holder"]]
    # Somebody elsewhere holds it: this run must go away, and say why.
    body["lease"].update(holder="awx-job-4711", expires_at="2999-01-01T00:00:00Z")
    site["s3"].put_object(Bucket=site["bucket"], Key=result["record_key"], Body=json.dumps(body).encode())
    third = run(table["valid"])
    assert third.returncode != 0 and "is being worked on by awx-job-4711" in flat(third.stdout)
    body.update(state="finished", outcome="complete", lease=None)
    site["s3"].put_object(Bucket=site["bucket"], Key=result["record_key"], Body=json.dumps(body).encode())
    fourth = run(table["valid"])
    assert fourth.returncode == 0 and "raise 'attempt' to 2" in flat(fourth.stdout)


def test_p44_on_the_platform_the_launcher_decides(site: dict[str, Any], run: Run, table: dict[str, Any]) -> None:
    job = {"awx_job_id": 4711, "awx_job_launch_type": "manual", "awx_user_name": "bob"}
    environ = {"JOB_ID": "4711", "AWX_PRIVATE_DATA_DIR": str(site["folder"])}
    refused = run({**table["valid"], **job}, environ=environ)
    assert refused.returncode != 0 and "'bob' may not act as the analyst 'alice'" in flat(refused.stdout)
    let_in = run({**table["valid"], **job, "awx_user_name": "alice"}, environ=environ)
    assert let_in.returncode == 0, let_in.stdout
    result = json.loads(site["result"].read_text())
    assert result["caller"]["kind"] == "awx" and result["caller"]["name"] == "alice"
    assert result["holder"] == "awx-job-4711"


class Inbox:
    """Keeps what a mail client sends."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    handler = Inbox()
    with socket.socket() as free:  # aiosmtpd greets itself, so it must know its port
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield handler, port
    controller.stop()


MAILS = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Ready
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: ready}
      vars: {notify_mail: "{{ good_mail }}"}
    - name: Done without a marker
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: done}
      vars: {notify_mail: "{{ good_mail }}"}
    - name: Done when the time is over, in words of the team's own
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: done}
      vars: {notify_mail: "{{ good_mail }}", notify_expired: true, notify_templates: "{{ own_templates }}"}
    - name: Take results back
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: retract}
      vars:
        notify_mail: "{{ good_mail }}"
        notify_marker: {outcome: incomplete, missing: [], validation: {ran: true, failed: [yara, clamav]}}
        notify_retraction: "{{ {'marker': notify_marker} | dfir.aws.retraction }}"
    - name: Alert through a server that is not there
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: alert}
      vars: {notify_mail: "{{ bad_mail }}"}
    - name: Keep what it said
      ansible.builtin.copy:
        content: "{{ notify_result | to_json }}"
        dest: "{{ out }}"
        mode: "0600"
"""


def test_p32_mails_are_readable_and_a_failed_one_hides_nothing(site: dict[str, Any], run: Run, inbox: Any,
                                                               table: dict[str, Any]) -> None:
    handler, port = inbox
    assert run(table["valid"]).returncode == 0
    request = json.loads(site["result"].read_text())
    volume = "vol-0123456789abcdef0"
    inventory = json.loads((site["folder"] / "hosts.json").read_text())
    inventory["all"]["hosts"]["localhost"].update({
        "good_mail": {"host": "127.0.0.1", "port": port, "from": "dfir@example.org", "secure": "never",
                      "recipients": ["team@example.org"]},
        "own_templates": str(site["folder"] / "templates"),
        "notify_ssh_via": "eice", "notify_ssh_endpoint_id": "eice-0123456789abcdef0",
        "bad_mail": {"host": "127.0.0.1", "port": 1, "username": "u", "password": PASSWORD, "secure": "never"},
        "notify_request": request,
        "notify_host": {"instance_id": "i-0123456789abcdef0", "private_ip": "172.31.0.5", "address": "172.31.0.5",
                        "volume_id": volume, "host_fingerprints": ["SHA256:hostkey"],
                        "deadline": "2026-11-20T23:30:00Z"},
        "notify_evidence": {"volumes": [
            {"volume_id": volume, "snapshot_id": "snap-0ad934c9551c5f65a", "size_bytes": 8 * 2**30, "role": "evidence",
             "partitions": [
                 {"name": "p1", "number": 1, "type": "ext4", "kind": "filesystem", "size_bytes": 2**30,
                  "mounted": True, "mount_point": f"/evidence/{volume}/p1", "journal_dirty": True},
                 {"name": "p2", "number": 2, "type": "crypto_LUKS", "kind": "luks", "size_bytes": 2**30,
                  "mounted": False, "reason": "LUKS needs a key.", "journal_dirty": None}]}]},
        "notify_access": {"user": "analyst", "key_fingerprint": "SHA256:herkey"},
        "notify_toolbox": {"versions": {"plaso": "20260720"}, "content": {"image": "0.1.0-20260101.000000", "sets": [
            {"kind": "yara", "name": "team", "version": "2026.01", "date": "2026-01-01T00:00:00Z", "files": 2},
            {"kind": "clamav", "name": "dfir", "version": "0123456789ab", "date": None, "files": 1}]}},
        "notify_step": "Copy the\nsnapshot", "notify_reason": "It said no\nand stopped.",
        "notify_resources": [{"type": "instance", "id": "i-0123456789abcdef0", "region": "eu-west-1",
                              "remove_command": "aws ec2 terminate-instances --instance-ids i-0123456789abcdef0"}],
    })
    (site["folder"] / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    (site["folder"] / "mails.yml").write_text(MAILS, encoding="utf-8")
    (site["folder"] / "templates").mkdir()
    (site["folder"] / "templates" / "done.txt.j2").write_text("Our own words for {{ notify_request.incident }}\n")
    done = run({"x": 1}, "-vvv", name="mails.yml")
    assert done.returncode == 0, done.stdout
    assert PASSWORD not in done.stdout

    ready, finished, own, retracted = handler.mails
    assert retracted["subject"] == ("[INC-2026-0042] RETRACTED: clamav, yara failed after the work on "
                                    "snap-0ad934c9551c5f65a")
    taken_back = retracted.get_body().get_content()
    for expected in ("do not rely on these results", "    yara\n", ".clamav.json of every partition", "analysis.log",
                     "The analysis ended INCOMPLETE.", "of 2026-01-01", "WARNING: YARA team is ", "ClamAV  dfir"):
        assert expected in taken_back, (expected, taken_back)
    assert "is good" not in taken_back and max(map(len, taken_back.splitlines())) <= 100
    assert own["subject"].startswith("[INC-2026-0042] expired: snap-")
    assert own.get_body().get_content().strip() == "Our own words for INC-2026-0042"
    assert own["message-id"].endswith(f"@done.{request['request_id']}.dfir>") and own["x-dfir-mail"] == "done"
    assert ready["to"] == "alice@example.org, team@example.org"
    assert ready["subject"].startswith("[INC-2026-0042] ready: i-")
    text = ready.get_body().get_content()
    for expected in ("analyst@172.31.0.5", "SHA256:hostkey", "SHA256:herkey", f"/evidence/{volume}/p1",
                     "latest changes may be missing", "LUKS needs a key.",
                     "2026-11-20 23:30 UTC (Sat 00:30 in Europe/Berlin)",
                     "aws ec2-instance-connect open-tunnel --instance-id i-0123456789abcdef0 --region eu-west-1",
                     "RULES AND SIGNATURES of the image 0.1.0-20260101.000000", "more than 30: publish a newer image",
                     "dfir-shell", "dfir-end", "plaso            20260720", "journalctl -fu"):
        assert expected in " ".join(text.split()) or expected in text, expected
    too_wide = [line for line in text.splitlines() if len(line) > 76 and len(shlex.split(line.rstrip(" \\"))) > 1]
    assert not too_wide, "only what has no blank may be wider than a mail"
    assert finished["subject"].startswith("[INC-2026-0042] incomplete: snap-")
    assert "the host never said that it was done" in finished.get_body().get_content()
    assert f"s3://{site['bucket']}/INC-2026-0042/snap-0ad934c9551c5f65a/" in finished.get_body().get_content()

    result = json.loads(site["result"].read_text())
    assert result["sent"] is False and "refused" in result["error"] and "\n" not in result["subject"]
    said = flat(done.stdout)
    assert "This mail was NOT sent" in said and "aws ec2 terminate-instances" in said
    assert "It said no and stopped." in said


SESSION_MAILS = """
- hosts: localhost
  gather_facts: false
  vars: {notify_mail: "{{ good_mail }}"}
  tasks:
    - name: Ready
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: ready}
    - name: Done, with files that could not be saved
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: done}
      vars:
        notify_marker: {outcome: incomplete, missing: [analyst_files], counts: {analyst_saved: 12, analyst_unsaved: 2}}
        notify_analyst: {files: 13, bytes: 2048, saved_at: "2026-11-20T22:45:00Z"}
    - name: Done, without a word from the host
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: done}
      vars: {notify_analyst: {files: 1, bytes: 10, saved_at: "2026-11-20T21:00:00Z"}}
    - name: Done as it should be
      ansible.builtin.include_role: {name: dfir.aws.notify, tasks_from: done}
      vars:
        notify_marker: {outcome: ended, missing: [], counts: {analyst_saved: 0, analyst_unsaved: 0}}
        notify_analyst: {files: 0, bytes: 0, saved_at: ""}
"""


def test_mails_of_a_session_tell_its_commands_and_what_became_of_the_work(site: dict[str, Any], run: Run, inbox: Any,
                                                                          table: dict[str, Any]) -> None:
    handler, port = inbox
    assert run({**table["valid"], "forensics_mode": "manual", "max_hours": 8}).returncode == 0
    inventory = json.loads((site["folder"] / "hosts.json").read_text())
    inventory["all"]["hosts"]["localhost"].update({
        "good_mail": {"host": "127.0.0.1", "port": port, "from": "dfir@example.org", "secure": "never"},
        "notify_request": json.loads(site["result"].read_text()),
        "notify_host": {"instance_id": "i-0123456789abcdef0", "private_ip": "172.31.0.5", "address": "172.31.0.5",
                        "volume_id": "vol-1", "deadline": "2026-11-20T23:30:00Z",
                        "expires": "2026-11-21T03:30:00Z"}})
    (site["folder"] / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    (site["folder"] / "mails.yml").write_text(SESSION_MAILS, encoding="utf-8")
    done = run({"x": 1}, name="mails.yml")
    assert done.returncode == 0, done.stdout
    ready, unsaved, silent, good = (mail.get_body().get_content() for mail in handler.mails)
    for words in ("dfir-pull --list", "dfir-push --sample /evidence", 'password "infected"', "dfir-extend 2",
                  "dfir-end", "until 2026-11-21 03:30 UTC (04:30 in Europe/Berlin) at the latest"):
        assert words in flat(ready), words
    assert "MISSING" in unsaved and "2 files of the analyst's folder could not be saved" in unsaved
    assert "analyst_files" not in unsaved and "Nothing is named" not in unsaved
    assert "analyst/: 13 files, 2 KiB, last saved at 2026-11-20 22:45 UTC (23:45 in Europe/Berlin)" in unsaved
    assert "What the analyst did after the last save" in silent and "last saved at 2026-11-20 21:00 UTC" in silent
    assert "MISSING" not in good and "analyst/: nothing was saved" in good
    assert [mail["subject"].split()[1] for mail in handler.mails] == ["ready:", "incomplete:", "incomplete:", "ended:"]
