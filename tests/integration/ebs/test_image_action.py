# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imaging in a real playbook: its progress is shown, and it ends with whoever waits for it, whatever ended them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils import guard
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Manifest
from ansible_runner.interface import run

from lab.aws.account import ADMIN
from tests.unit.lab.aws_kit import REGION, Kit, Recorder
from tests.unit.lab.ebs_kit import block
from tests.unit.plugins.test_ebs_modules import upload

CHECKOUT = Path(__file__).resolve().parents[3]
BLOCKS = {index: block(index) for index in range(300)}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"), hosts=Recorder())
    kit.delays.snapshot = 0
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def snapshot(kit: Kit) -> str:
    return upload(kit, BLOCKS)


class Play:
    """One run of ansible-playbook, as a person or a platform starts it: in a process group of its own."""

    def __init__(
        self, folder: Path, kit: Kit, snapshot: str, action: str = "dfir.aws.ebs_snapshot_image", *,
        start: bool = True, **more: Any
    ) -> None:
        self.dest, self.folder = folder / "i.raw", folder
        keys = {"access_key": ADMIN[1], "secret_key": ADMIN[2], "region": REGION, "endpoint_url": kit.endpoint}
        task = {"snapshot_id": snapshot, "dest": str(self.dest), **keys, **more}
        play = [{"hosts": "localhost", "gather_facts": False,
                 "tasks": [{action: task, "register": "made"}, {"debug": {"var": "made"}}]}]
        (folder / "play.yml").write_text(json.dumps(play))
        (folder / "ansible.cfg").write_text("[defaults]\n")
        self.environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"), "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            "ANSIBLE_ASYNC_DIR": str(folder / "async"), "ANSIBLE_REMOTE_TEMP": str(folder / "tmp")}  # fmt: skip
        self.output = folder / "output"
        if not start:
            return
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local",
                   "-e", f"ansible_python_interpreter={sys.executable}", str(folder / "play.yml")]
        with self.output.open("w") as file:
            self.process = subprocess.Popen(command, env={**os.environ, **self.environment}, cwd=folder,
                                            stdout=file, stderr=file, start_new_session=True)

    def said(self) -> str:
        return self.output.read_text()

    def wait_for_blocks(self, count: int) -> None:
        """Until the journal vouches for so many blocks."""
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            if self.blocks() >= count:
                return
            time.sleep(0.2)
        raise AssertionError(self.said())

    def blocks(self) -> int:
        """How many blocks the journal vouches for."""
        try:
            with Manifest(f"{self.dest}.manifest.partial", partial=True) as journal:
                return len(journal)
        except Exception:  # not there yet, or caught half-written
            return 0

    def wait_for_all_to_end(self) -> None:
        """Ten seconds is what is promised on one machine."""
        until = time.monotonic() + 10
        while self.everybody() and time.monotonic() < until:
            time.sleep(0.1)
        assert self.everybody() == []

    def everybody(self) -> list[int]:
        """Every process that this run has started, the action's and the module's included."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.folder).encode() in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                    text = (entry / "stat").read_text().rpartition(")")[2].split()
                    if text[0] not in "ZX":
                        found.append(int(entry.name))
            except OSError:
                continue
        return found


def test_progress_is_shown_in_ordinary_output(kit: Kit, snapshot: str, tmp_path: Path) -> None:
    play = Play(tmp_path, kit, snapshot, rate=50, case="INC-1")
    assert play.process.wait(90) == 0, play.said()
    lines = [line for line in play.said().splitlines() if line.startswith(f"{snapshot}: imaging ")]
    assert len(lines) > 2 and all(" %, " in line and " blocks, " in line and "/s" in line for line in lines)
    assert any(" left)" in line for line in lines)
    assert '"blocks": 300' in play.said() and play.dest.exists()
    assert not list((tmp_path / "async").glob("*"))
    play.wait_for_all_to_end()


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL", "SIGINT to the group", "SIGTERM to the group",
                                 "SIGKILL to the group"])  # fmt: skip
def test_p55_job_and_worker_are_gone_soon_after_ansible_playbook_and_the_next_run_goes_on(
    kit: Kit, snapshot: str, tmp_path: Path, how: str
) -> None:
    play = Play(tmp_path, kit, snapshot, rate=15)
    play.wait_for_blocks(64)
    assert len(play.everybody()) >= 3, "ansible-playbook, its action, the module"
    number = getattr(signal, how.split()[0])
    (os.killpg if "group" in how else os.kill)(play.process.pid, number)
    play.wait_for_all_to_end()
    play.process.wait(5)
    assert not play.dest.exists(), "nothing that looks finished"
    again = Play(tmp_path, kit, snapshot)
    assert again.process.wait(60) == 0, again.said()
    with Manifest(f"{play.dest}.manifest") as manifest:
        assert manifest.check().blocks == 300
        assert manifest.done.sessions[-1]["kept"] >= 64, "what was there was not fetched again"


def test_p55_a_cancel_of_ansible_runner_ends_job_and_worker_and_its_events_show_the_progress(
    kit: Kit, snapshot: str, tmp_path: Path
) -> None:
    """As automation platforms run playbooks, and cancel them."""
    lines: list[str] = []
    play = Play(tmp_path, kit, snapshot, rate=15, start=False)

    def event(data: dict[str, Any]) -> bool:
        lines.extend(str(data.get("stdout", "")).splitlines())
        return True

    def cancel() -> bool:
        return sum(f"{snapshot}: imaging " in line for line in lines) >= 3 and play.blocks() >= 64

    (tmp_path / "runner").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = run(
        private_data_dir=str(tmp_path / "runner"), playbook=str(tmp_path / "play.yml"), inventory="localhost,",
        cmdline=f"-c local -e ansible_python_interpreter={sys.executable}", envvars={**play.environment, "PATH": path},
        quiet=True,
        event_handler=event, cancel_callback=cancel, timeout=90,
        settings={"pexpect_timeout": 1},
    )  # fmt: skip
    assert result.status == "canceled", (result.status, lines[-20:])
    play.wait_for_all_to_end()
    assert not play.dest.exists() and play.blocks() >= 64, "it can go on"
    assert any(" %, " in line and " blocks, " in line for line in lines)


# A worker on another machine: the process that waits means nothing there, so that the lease alone decides.
FAR = """
from ansible_collections.dfir.aws.plugins.plugin_utils import engine_action, progress

progress.waiting_process = lambda pid: {}

class ActionModule(engine_action.EngineAction):
    MODULE, SUBJECT, LEASE = "dfir.aws.ebs_snapshot_image", "snapshot_id", 4
"""


def test_p55_an_action_whose_playbook_was_killed_renews_no_lease(kit: Kit, snapshot: str, tmp_path: Path) -> None:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "far.py").write_text(FAR)
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "far.py").write_text("")  # an action wants a module of its name
    play = Play(tmp_path, kit, snapshot, action="far", rate=15)
    play.wait_for_blocks(64)
    os.killpg(play.process.pid, signal.SIGKILL)
    play.wait_for_all_to_end()


def lease(folder: Path, **content: Any) -> tuple[str, str]:
    (folder / "lease").write_text(json.dumps(content))
    return str(folder / "lease"), str(folder / "told")


def ended(watching: guard.Guard, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not watching.stop():
        time.sleep(0.05)
    return watching.stop()


def test_a_worker_elsewhere_ends_when_nobody_renews_its_lease(tmp_path: Path) -> None:
    """On another machine the process that waits means nothing: the lease alone decides."""
    foreign = {**guard.waiting_process(os.getpid()), "boot": "another machine", "pid": 1}
    watching = guard.Guard(*lease(tmp_path, seconds=1.5, waiting=foreign), grace=3600)
    for _ in range(4):
        time.sleep(0.7)
        os.utime(tmp_path / "lease")
        assert not watching.stop(), watching.reason
    assert ended(watching, 10) and watching.reason == "nobody renews the lease"
    assert guard.LEASE_SECONDS + guard.GRACE_SECONDS < 60


def test_a_worker_whose_folder_was_removed_ends(tmp_path: Path) -> None:
    watching = guard.Guard(*lease(tmp_path, seconds=3600), grace=3600)
    (tmp_path / "lease").unlink()
    assert ended(watching, 10)


def test_a_process_that_got_the_number_of_the_one_that_waited_is_not_taken_for_it(tmp_path: Path) -> None:
    mine = guard.waiting_process(os.getpid())
    if not mine:
        pytest.skip("this system does not tell processes apart")
    assert not ended(guard.Guard(*lease(tmp_path, seconds=3600, waiting=mine), grace=3600), 1.5)
    assert ended(guard.Guard(*lease(tmp_path, seconds=3600, waiting=mine | {"started": "1"}), grace=3600), 10)


def test_a_module_that_does_not_ask_is_ended_all_the_same(tmp_path: Path) -> None:
    program = ("import sys, time; from ansible_collections.dfir.aws.plugins.module_utils.guard import Guard; "
               "Guard(sys.argv[1], None, grace=0.5); time.sleep(60)")  # fmt: skip
    path, _ = lease(tmp_path, seconds=0.5)
    done = subprocess.run([sys.executable, "-c", program, path], check=False, timeout=30,
                          env={**os.environ, "PYTHONPATH": str(CHECKOUT / "collections")})
    assert done.returncode == guard.EXIT_CODE


def test_without_a_lease_nobody_is_watched(tmp_path: Path) -> None:
    watching = guard.Guard(None, None)
    watching.tell("nobody hears it")
    assert not watching.stop()
    hears = guard.Guard(None, str(tmp_path / "told"))
    hears.tell("43 %", 43)
    assert json.loads((tmp_path / "told").read_text()) == {"text": "43 %", "percent": 43}
