# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook in an unprivileged container of the execution environment's content, against the lab.

Which playbooks there are is looked up, and what they are asked comes from their surveys, as the platform launches them.
What has a line in `JOBS` does its real work here and says so; any other one is run in check mode. None may fail for
want of a package, a program, a right or a place to write.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab import audit
from lab.config import LabConfig
from lab.mail.reader import list_mails
from tests.aap_kit import ROOT, load, surveys
from tests.fake_controller.eda import EventDriven
from tests.fake_controller.server import Controller, running
from tests.integration.aap.environment import UID, Container, checked_out, ensure_environment

# What is not run, and why
ELSEWHERE = {"update_toolbox": "builds an image: on a host of the group toolbox_builder, which has a container engine"}
PLAYBOOKS = sorted({path.stem for path in (ROOT / "playbooks").glob("*.yml")} - set(ELSEWHERE))
SNAPSHOT, THERE, HERE = "snap-0ad934c9551c5f65a", "us-east-1", "eu-west-1"
# Words of an environment that lacks something
TROUBLE = re.compile(r"Traceback|Permission denied|Read-only file system|No module named|ModuleNotFound|ImportError|"
                     r"not found in PATH|command not found|No such file or directory|required Python library|"
                     r"couldn't resolve|Unable to create|No user exists|MODULE FAILURE", re.ASCII)
# Some minutes, and more where the content is not cached yet
pytestmark = pytest.mark.more
SURVEYS = surveys(load())


@dataclass(frozen=True)
class Job:
    """What a playbook is asked besides its survey's usual answers, and what it says when it has done its work.

    `mails`: what a mail's subject says then, where the output says little.
    """

    says: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    refuses: bool = False  # it ends as a failure, with its own words
    mails: str = ""


JOBS = {
    # From the request to a host that is the analyst's, over SSH through the lab's relay, and its end
    "analyze_request": Job("", {"forensics_mode": "manual", "time_limit_hours": 1, "wait_for_results": "false"},
                           mails="ready: i-"),
    "renew_artifact_urls": Job("can be got with dfir-pull until", {"forensics_mode": "manual"}),
    "show_request": Job("manual"),
    "acquire_instance": Job("nothing was kept and nothing was snapshotted", options=("--check",)),
    "close_request": Job(mails="] ended: "),
    "triage_snapshot": Job("shop-web-01"),
    "compare_snapshots": Job(mails="0 changes"),
    "image_snapshot": Job(mails="made and read back"),
    "image_snapshots": Job("has no host in the group imaging_hosts", refuses=True),
    "summarize_images": Job("nobody has begun with it", refuses=True),
    "answer_request": Job("It would cost up to", {"max_cost_usd": "0.01"}, refuses=True),
    "answer_event": Job("none is answered after", refuses=True),
    "refuse_event": Job(mails="REFUSED"),
    "check_account": Job("artifacts are written once"),
    "expire_snapshots": Job("copies"),
    "follow_requests": Job(),
    "reap_resources": Job(),
    "import_aap": Job("Event-Driven Ansible is left out", options=("--check",)),
}
# Each needs what the one before it has left. What is in neither list needs nothing.
SESSION = ("analyze_request", "show_request", "renew_artifact_urls", "acquire_instance", "close_request")
CASE = ("triage_snapshot", "image_snapshot", "close_case", "verify_case")


@pytest.fixture(scope="module")
def container(lab: LabConfig, tmp_path_factory: pytest.TempPathFactory) -> Container:
    folder = tmp_path_factory.mktemp("job")
    folder.chmod(0o755)
    key = folder / "controller"  # the machine credential, which the platform gives to the job's user
    shutil.copy(lab.keys / "controller", key)
    key.chmod(0o600)
    shutil.chown(key, UID)
    return Container(ensure_environment(lab.cache), checked_out(folder / "project"), lab.state, key, lab.port)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """What is answered where a survey has no default."""
    return {"analyst_uid": "alice", "aws_snapshot_id": SNAPSHOT,
            "aws_snapshot_region": THERE, "aws_analysis_region": HERE, "aws_instance_region": HERE,
            "event_id": str(uuid.uuid4()), "event_time": "2026-01-01T00:00:00Z", "event_source": "aws.guardduty",
            "event_account": "123456789012", "event_region": THERE, "event_resource": SNAPSHOT,
            "event_door": "requests", "event_reason": "not_an_object"}


@pytest.fixture(scope="module")
def pair(lab: LabConfig) -> Iterator[list[str]]:
    """Two snapshots of one volume, made of the evidence."""
    ec2 = audit.client(lab, "ec2", THERE)
    volume = ec2.create_volume(SnapshotId=SNAPSHOT, AvailabilityZone=f"{THERE}a")["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    made = [ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _time in range(2)]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=made)
    yield made
    for name in made:
        ec2.delete_snapshot(SnapshotId=name)
    ec2.delete_volume(VolumeId=volume)


@dataclass(frozen=True)
class Said:
    """How a playbook ended, and what it printed, without the places where a callback folded it."""

    status: int
    text: str


@pytest.fixture(scope="module")
def ended(container: Container, lab: LabConfig, values: dict[str, Any], pair: list[str]) -> dict[str, Said]:
    """All playbooks, run: those that need nothing beside the two stories."""
    given = {"compare_snapshots": {"aws_snapshot_id": "\n".join(pair)}}
    platform = Controller({f"playbooks/{name}.yml" for name in PLAYBOOKS}, "token", EventDriven({}))

    def asks(name: str, variable: str) -> bool:
        return any(question["variable"] == variable for question in SURVEYS.get(name, {}).get("spec", []))

    def play(name: str, **more: Any) -> Said:
        job = JOBS.get(name, Job(options=("--check",)))
        asked = {question["variable"]: values.get(question["variable"], question.get("default", ""))
                 for question in SURVEYS.get(name, {}).get("spec", [])}
        extra = {key: value for key, value in {**asked, **job.answers, **given.get(name, {}), **more}.items()
                 if value != ""}
        done = container.run("ansible-playbook", f"playbooks/{name}.yml", "-e", json.dumps(extra), *job.options,
                             environ=environ)
        return Said(done.returncode, " ".join(done.stdout.replace("''", "'").split()))

    def story(names: tuple[str, ...]) -> dict[str, Said]:
        told: dict[str, Said] = {}
        incident = f"INC-{uuid.uuid4().hex[:8].upper()}"  # of its own: a case that is closed takes no more
        for name in names:
            more: dict[str, Any] = {"incident": incident} if asks(name, "incident") else {}
            if name == "close_request":
                more["request_id"] = re.findall(r"\b[0-9a-f]{16}\b", told["show_request"].text)[0]
            if name == "acquire_instance":
                more["aws_instance_id"] = re.findall(r"\bi-[0-9a-f]{17}\b", told["analyze_request"].text)[0]
            if name == "import_aap":
                more |= {"controller_templates": [], "controller_workflows": [], "controller_schedules": []}
            told[name] = play(name, **more)
        return told

    alone = tuple(name for name in PLAYBOOKS if name not in (*SESSION, *CASE))
    with running(platform) as address, ThreadPoolExecutor(3) as pool:
        environ = {"CONTROLLER_HOST": address, "CONTROLLER_OAUTH_TOKEN": "token"}
        told = list(pool.map(story, (SESSION, CASE, alone)))
    return {name: said for part in told for name, said in part.items()}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_it_does_its_work_without_rights_and_with_what_the_files_name(ended: dict[str, Said], lab: LabConfig, name: str
                                                                      ) -> None:
    said = ended[name]
    assert not TROUBLE.search(said.text), said.text[-4000:]
    if name in JOBS:
        assert JOBS[name].says in said.text, said.text[-4000:]
        assert (said.status != 0) is JOBS[name].refuses, said.text[-4000:]
        assert any(JOBS[name].mails in mail.subject for mail in list_mails(lab.mails)), JOBS[name].mails


def test_the_user_is_nobody_and_nothing_can_be_written_but_scratch(container: Container) -> None:
    """Or the other tests would prove nothing."""
    script = ("id -u; grep CapEff /proc/self/status; touch /tmp/a \"$HOME/a\" && echo scratch; "
              "touch a /runner/lab/a /usr/a 2>/dev/null || echo read-only; ansible-runner --version; "
              "ls .git .venv 2>/dev/null || echo as-checked-out")
    said = container.run("sh", "-c", script).stdout.split()
    assert said[:3] == [str(UID), "CapEff:", "0000000000000000"] and "scratch" in said and "read-only" in said, said
    assert "as-checked-out" in said


def test_what_is_not_run_here_is_there_and_says_that_it_needs_an_engine() -> None:
    assert all((ROOT / "playbooks" / f"{name}.yml").exists() for name in ELSEWHERE)
    assert "toolbox_builder" in (ROOT / "playbooks/update_toolbox.yml").read_text(encoding="utf-8")
