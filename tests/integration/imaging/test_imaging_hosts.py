# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images made on hosts of the inventory, with rights of their own; shared among them; ended with whoever waits."""

from __future__ import annotations

import os
import re
import signal
import time
import uuid
from pathlib import Path

from lab import imaging, seed
from lab.aws.account import CONTROLLER
from lab.mail.reader import list_mails
from tests.integration.imaging.imaging_kit import Site, until, workers

LEASE = 20
WORKER = "ebs_snapshot_image"


def new_incident() -> str:
    return f"INC-{uuid.uuid4().hex[:8].upper()}"


def test_a_chosen_host_images_with_its_own_rights_and_gets_nothing_of_the_controllers(site: Site, folder: Path) -> None:
    [snapshot], incident = site.snapshots(1), new_incident()
    wrong = site.ask(folder, "image_snapshot", operator={"dfir_aws_imaging_host": "imaging-9"}, incident=incident,
                     aws_snapshot_id=snapshot)
    assert wrong.returncode != 0 and "is not in the inventory's group imaging_hosts" in " ".join(wrong.stdout.split())
    done = site.ask(folder, "image_snapshot", "-vvv", operator={"dfir_aws_imaging_host": "imaging-1"},
                    incident=incident, aws_snapshot_id=snapshot)
    assert done.returncode == 0, done.stdout[-6000:]
    with site.manifest(folder, incident, snapshot) as manifest:
        assert manifest.check().blocks == 150
        assert ":assumed-role/lab-imaging/" in manifest.identity.caller, manifest.identity
    assert any(incident in mail.subject and "made and read back" in mail.subject for mail in list_mails(site.lab.mails))
    to_host = [line for line in done.stdout.splitlines() if re.match(r"<172\.31\.[0-9.]+> (EXEC|SSH: EXEC)", line)]
    assert len(to_host) > 10 and not any("AWS_" in line for line in to_host)
    results = re.findall(r"^(?:ok|changed): \[imaging-1\] => .*?^$", done.stdout, re.MULTILINE | re.DOTALL)
    assert any("module_args:" in result and "linear_sha256:" in result for result in results)
    assert not any(CONTROLLER[1] in result or CONTROLLER[2] in result for result in results)


def test_a_host_without_a_profile_says_so(site: Site, folder: Path) -> None:
    iam, ec2 = seed.client(site.lab, "iam"), seed.client(site.lab, "ec2")
    [held] = ec2.describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [site.instances["imaging-2"]]}])["IamInstanceProfileAssociations"]
    iam.remove_role_from_instance_profile(InstanceProfileName=imaging.NAME, RoleName=imaging.NAME)
    try:
        refused = site.ask(folder, "image_snapshot", operator={"dfir_aws_imaging_host": "imaging-2"},
                           incident=new_incident(), aws_snapshot_id=site.snapshots(1, 1)[0])
    finally:
        iam.add_role_to_instance_profile(InstanceProfileName=imaging.NAME, RoleName=imaging.NAME)
    assert held and refused.returncode != 0
    assert "This host has no instance profile: attach one" in " ".join(refused.stdout.split()), refused.stdout[-4000:]


def test_three_hosts_share_snapshots_and_quotas_and_one_mail_tells(site: Site, folder: Path) -> None:
    snapshots, incident = site.snapshots(4), new_incident()
    site.quotas(account_quota=120, snapshot_quota=100)
    asked = {"incident": incident, "aws_snapshot_id": ",".join(snapshots), "hosts": {"dfir_aws_image_rate": 35}}
    done = site.ask(folder, "image_snapshots", **asked)
    assert done.returncode == 0, done.stdout[-8000:]
    claims = [site.claim(incident, snapshot) for snapshot in snapshots]
    assert all(claim["state"] == "done" and not claim["taken_over"] and not claim["failures"] for claim in claims)
    assert len({claim["holder"] for claim in claims}) == 3, "each host had one, and one had two"
    for snapshot in snapshots:
        with site.manifest(folder, incident, snapshot) as manifest:
            assert manifest.check().blocks == 150

    def mails() -> int:
        return sum(incident in mail.subject and "4 images" in mail.subject for mail in list_mails(site.lab.mails))

    assert mails() == 1
    there = site.keys(f"{incident}/")
    again = site.ask(folder, "image_snapshots", **asked)
    assert again.returncode == 0, again.stdout[-8000:]
    summary = site.ask(folder, "summarize_images", **asked)
    assert summary.returncode == 0 and "made on imaging-" in summary.stdout
    assert site.keys(f"{incident}/") == there and mails() == 1, "told once, made once"


def test_slices_with_a_host_each_share_them_too_and_what_cannot_be_made_is_told(site: Site, folder: Path) -> None:
    snapshots, incident = [*site.snapshots(2), "snap-00000000000000bad"], new_incident()
    site.quotas(account_quota="off", snapshot_quota="off")
    slices = []
    for number in (1, 2):
        own = folder / str(number)
        own.mkdir()
        slices.append(site.start(own, "image_snapshots", "--limit", f"localhost,imaging-{number}", incident=incident,
                                 aws_snapshot_id=snapshots, hosts={"dfir_aws_image_rate": 20}))
    codes = [process.wait(400) for process in slices]
    said = " ".join((folder / "1" / "output").read_text().split())
    assert codes == [2, 2] and "1 of 3 images are not made. snap-00000000000000bad: imaging-" in said, said[-4000:]
    claims = {snapshot: site.claim(incident, snapshot) for snapshot in snapshots}
    assert {claims[name]["holder"].split("@")[0] for name in snapshots[:2]} == {"imaging-1", "imaging-2"}
    assert len(claims[snapshots[2]]["failures"]) == 2, "each host has tried"


def test_p55_a_worker_on_another_host_ends_with_the_playbook_and_the_next_run_goes_on(site: Site, folder: Path) -> None:
    # More work than the worker can do until its lease has run out: 45 s, at 8 blocks a second.
    snapshots, incident = site.snapshots(1, 700), new_incident()
    asked = {"incident": incident, "aws_snapshot_id": snapshots, "hosts": {"dfir_aws_image_rate": 8}}
    play = site.start(folder, "image_snapshots", "--limit", "localhost,imaging-1", **asked)
    prefix = f"{incident}/{snapshots[0]}/image/segments/"
    until(lambda: site.keys(prefix) or play.poll() is not None, 240, (folder / "output").read_text)
    assert play.poll() is None and workers(WORKER), (folder / "output").read_text()[-4000:]
    os.killpg(play.pid, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: not workers(WORKER), 60, lambda: str(workers(WORKER)))  # what is promised
    assert time.monotonic() - killed < 60
    assert not site.keys(f"{incident}/{snapshots[0]}/image/manifest"), "nothing that looks finished"
    assert site.claim(incident, snapshots[0])["state"] == "open", "given back"
    asked["hosts"] = {"dfir_aws_image_rate": 980}
    again = site.ask(folder, "image_snapshots", "--limit", "localhost,imaging-2", **asked)
    assert again.returncode == 0, again.stdout[-6000:]
    with site.manifest(folder, incident, snapshots[0]) as manifest:
        assert manifest.check().blocks == 700
        assert manifest.done.sessions[-1]["kept"] >= 64, "what was there was not fetched again"


def test_what_a_host_that_dies_leaves_is_taken_over_and_goes_on(site: Site, folder: Path) -> None:
    """The last one: it ends a host."""
    snapshots, incident = site.snapshots(3), new_incident()
    asked = {"incident": incident, "aws_snapshot_id": snapshots}
    slow = {"dfir_aws_image_rate": 6, "dfir_aws_image_lease_seconds": LEASE}
    play = site.start(folder, "image_snapshots", hosts=slow, **asked)

    def begun() -> str:
        for snapshot in snapshots:
            holder = site.claim(incident, snapshot).get("holder") or ""
            if holder.startswith("imaging-3@") and site.keys(f"{incident}/{snapshot}/image/segments/"):
                return snapshot
        return "ended" if play.poll() is not None else ""

    orphan = until(begun, 240, (folder / "output").read_text)
    assert orphan != "ended", (folder / "output").read_text()[-6000:]
    seed.client(site.lab, "ec2").terminate_instances(InstanceIds=[site.instances["imaging-3"]])
    assert play.wait(400) != 0, "a host was lost"
    claim = site.claim(incident, orphan)
    said = (folder / "output").read_text()
    assert claim["state"] == "done" and not claim["holder"].startswith("imaging-3@"), said[-6000:]
    assert [item["from"].split("@")[0] for item in claim["taken_over"]] == ["imaging-3"]
    assert all(site.claim(incident, snapshot)["state"] == "done" for snapshot in snapshots)
    with site.manifest(folder, incident, orphan) as manifest:
        assert manifest.check().blocks == 150
        assert manifest.done.sessions[-1]["kept"] >= 64, "what was there was not fetched again"
    assert any(incident in mail.subject and "3 images" in mail.subject for mail in list_mails(site.lab.mails))
