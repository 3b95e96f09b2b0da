# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that restart in the middle of their work, and a host whose controller and watchdog are gone."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from tests.integration.flow.flow_kit import HOME, Request, Site, arm, client, deny_ssh, together, until
from tests.integration.flow.host_kit import artifacts, ask_host, host, on_host

EVIDENCE = {"aws_snapshot_id": "snap-0f6be19a124aa193d", "aws_snapshot_region": HOME}
UNITS = ("dfir-scratch.service", "dfir-evidence.service", "dfir-analysis.service", "dfir-watchdog.service",
         "dfir-upload.timer", "dfir-deadman.timer")
MOUNTS = "findmnt --list --raw --noheadings --output TARGET,FSTYPE,OPTIONS | grep ^/evidence/ | sort"
PROTECTION = "sudo sh -c 'blockdev --getro /dev/disk/by-id/*_$(basename /evidence/vol-* | tr -d -)*'"
# What a program in the container could do: speak to somebody, write where it must not, find credentials.
LOCKED_UP = ("dfir-shell sh -c 'tail -n +3 /proc/net/dev | cut -d: -f1; files=\"/x /etc/x /evidence/*/p1/x\"; "
             "touch $files 2>/dev/null; ls $files 2>/dev/null; env | grep ^AWS_; true'")
BOOT = "cat /proc/sys/kernel/random/boot_id"


def restart(request: Request) -> None:
    """Restart the host, as AWS does for maintenance; returns when one can log in again."""
    before = on_host(request, BOOT)
    client(request.lab, "ec2").reboot_instances(InstanceIds=[host(request)["InstanceId"]])

    def is_back() -> bool:
        code, boot = ask_host(request, BOOT)
        return code == 0 and boot != before

    until(is_back, "the restart")


@pytest.mark.cell("forensics", "the host restarts in a session")
@pytest.mark.cell("results", "controller, watchdog and uploads are killed")
@pytest.mark.host
@together(minutes=7)
def test_p26_a_session_survives_a_restart_and_the_dead_mans_switch_alone_ends_it(site: Site) -> None:
    """Nobody but the host itself: the run that made it is dead, and so are the watchdog and the uploads."""
    request = site.request(**EVIDENCE, time_limit_hours=0.11, wait_for_results=True)
    play = request.start()
    play.wait(lambda: request.mails)
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"], play.text[-3000:]
    play.kill()

    on_host(request, "echo before the restart > /srv/dfir/analyst/early.txt")
    mounts, protected = on_host(request, MOUNTS), on_host(request, PROTECTION)
    assert mounts.count("\n") >= 1 and set(protected.split()) == {"1"}
    restart(request)
    until(lambda: "activating" not in ask_host(request, f"systemctl is-active {' '.join(UNITS)}")[1], "the start")
    assert on_host(request, f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * len(UNITS)
    assert on_host(request, MOUNTS) == mounts and on_host(request, PROTECTION) == protected
    assert on_host(request, "test ! -e /evidence/NOT-MOUNTED.txt; cat /srv/dfir/analyst/early.txt") == (
        "before the restart\n")
    assert "Sleuth Kit" in on_host(request, "dfir-shell fls -V") and on_host(request, LOCKED_UP).split() == ["lo"]
    tags = {tag["Key"]: tag["Value"] for tag in host(request)["Tags"]}
    deadline = datetime.fromisoformat(tags["dfir:expires"].replace("Z", "+00:00"))
    armed = on_host(request, "systemctl show --property=NextElapseUSecRealtime --value dfir-deadman.timer")
    assert armed.strip() == deadline.strftime("%a %Y-%m-%d %H:%M:%S UTC")

    on_host(request, "sudo systemctl disable --now dfir-watchdog.service dfir-upload.timer")
    on_host(request, "echo at the last moment > /srv/dfir/analyst/late.txt")
    assert artifacts(request).keys() <= {"analyst/early.txt"}
    until(lambda: host(request)["State"]["Name"] == "terminated", "the end of the host", 900)
    assert datetime.now(timezone.utc) >= deadline
    assert host(request)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    found = artifacts(request)
    assert found["analyst/early.txt"] == b"before the restart\n"
    assert found["analyst/late.txt"] == b"at the last moment\n"
    assert json.loads(found["complete.json"])["outcome"] == "timeout"
    assert {kind for kind, _id in request.exists()} == {"security-group", "instance-profile", "role-policy", "role"}

    again = request.run()
    assert again.code == 0, again.text[-3000:]
    assert request.exists() == set() and request.record["outcome"] == "timeout"
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:", "timeout:"]


@pytest.mark.cell("forensics", "the host restarts during the analysis")
@pytest.mark.cell("results", "S3 refuses uploads for a while")
@pytest.mark.host
@together(minutes=3)
def test_an_analysis_that_a_restart_cuts_off_is_reported_as_incomplete(site: Site) -> None:
    request = site.request(**EVIDENCE, forensics_mode="automatic", time_limit_hours=1, wait_for_results=True)
    play = request.start()
    play.wait(lambda: request.mails)
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"], play.text[-3000:]
    until(lambda: "dfir-analysis" in ask_host(request, "sudo podman ps --format {{.Names}}")[1], "the analysis")
    # The watchdog goes on after uploads that are refused.
    arm(site.lab, "s3.put_refused", f"key={request.incident}/*", "times=2")
    client(site.lab, "ec2").reboot_instances(InstanceIds=[host(request)["InstanceId"]])
    play.end()
    marker = json.loads(artifacts(request)["complete.json"])
    assert marker["outcome"] == "incomplete" and marker["missing"], marker
    assert play.code not in (0, None) and "Traceback" not in play.text
    assert "INCOMPLETE" in request.mails[-1].text and request.exists() == set()
    assert request.record["outcome"] == "incomplete"


# The last upload before the end may take 14 minutes.
@pytest.mark.cell("results", "S3 refuses uploads for ever")
@pytest.mark.cell("results", "SSH drops while the session runs")
@pytest.mark.more
@together(minutes=21)
def test_a_host_that_nobody_reaches_and_whose_uploads_are_refused_ends_at_its_deadline(site: Site) -> None:
    """The bucket is asked, not the host: a run waits on although it could not log in, and says what never came."""
    request = site.request(**EVIDENCE, time_limit_hours=0.1, wait_for_results=True)
    play = request.start()
    play.wait(lambda: request.mails)
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"], play.text[-3000:]
    arm(site.lab, "s3.put_refused", f"key={request.incident}/*", "times=always")
    on_host(request, "echo never to be seen > /srv/dfir/analyst/note.txt")
    on_host(request, "sudo systemctl stop dfir-analysis.service")  # the analyst ends early: from here on it uploads
    deny_ssh(site.lab, host(request))
    play.end()
    tags = {tag["Key"]: tag["Value"] for tag in host(request)["Tags"]}
    assert datetime.now(timezone.utc) >= datetime.fromisoformat(tags["dfir:expires"].replace("Z", "+00:00"))
    assert host(request)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown" and artifacts(request) == {}
    assert play.code not in (0, None) and "Traceback" not in play.text and "UNREACHABLE" not in play.text
    assert "The completion marker (complete.json) never came, although the host has ended." in play.sentence
    assert "INCOMPLETE" in request.mails[-1].text and request.exists() == set()
    assert request.record["outcome"] == "incomplete"
