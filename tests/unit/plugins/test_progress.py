# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long waits say how far they are, and end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.plugin_utils.progress import Progress, readable_time

pytestmark = pytest.mark.slow  # processes of their own

CHECKOUT = Path(__file__).resolve().parents[3]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def progress(clock: Clock, lines: list[str]) -> Progress:
    return Progress(lines.append, "snapshot", clock)


def test_a_copy_tells_its_percentage_and_what_is_left(progress: Progress, clock: Clock, lines: list[str]) -> None:
    for percent in (3, 23, 43):
        progress.tell(f"snap-1 {percent} %", percent)
        clock.now += 60
    assert lines[0] == "snapshot: snap-1 3 %"
    assert lines[2] == "snapshot: snap-1 43 % (2 min, about 3 min left)"


def test_nothing_new_is_not_said_again_at_once_but_never_kept_quiet_for_ten_seconds(
        progress: Progress, clock: Clock, lines: list[str]) -> None:
    shown = []
    for _ in range(40):
        if progress.tell("i-1 is booting"):
            shown.append(clock.now)
        clock.now += 1
    gaps = [after - before for before, after in pairwise(shown)]
    assert max(gaps) <= 10 and min(gaps) >= 5


def test_a_change_is_said_at_once(progress: Progress, lines: list[str]) -> None:
    progress.tell("i-1 is pending")
    progress.tell("i-1 is running")
    assert lines == ["snapshot: i-1 is pending", "snapshot: i-1 is running"]


def test_no_estimate_is_better_than_a_guess(progress: Progress, clock: Clock) -> None:
    assert progress.remaining(0) is None
    clock.now = 30
    assert progress.remaining(1) is None
    assert progress.remaining(100) is None


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (8.4, "8 s"), (180, "3 min"), (7500, "2 h 5 min"),
                                               (7200, "2 h")])
def test_times_are_readable(seconds: float, text: str) -> None:
    assert readable_time(seconds) == text


ACTION = '''
from ansible_collections.dfir.aws.plugins.plugin_utils.progress import ProgressAction

class ActionModule(ProgressAction):
    POLL = 0.2
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        return self.run_async("worker", dict(self._task.args), task_vars, self.progress("work"), timeout=30)
'''
MODULE = '''
import json, os, time
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec={"fail": {"type": "bool"}, "lease_file": {}, "progress_file": {}},
                       supports_check_mode=True)
lease, told = module.params["lease_file"], module.params["progress_file"]
leased = False
if told:
    for percent in (10, 60):
        with open(told + ".new", "w") as file:
            json.dump({"text": f"{percent} blocks", "percent": percent}, file)
        seen = os.stat(lease).st_mtime_ns
        os.replace(told + ".new", told)
        end = time.time() + 20
        while os.stat(lease).st_mtime_ns == seen and time.time() < end:  # whoever looks touches the lease
            time.sleep(0.02)
        time.sleep(0.3)  # first touched, then read
    leased = time.time() - os.stat(lease).st_mtime < 10
if module.params["fail"]:
    module.fail_json(msg="the disk is full")
module.exit_json(changed=True, leased=leased, direct=not told)
'''


WORKER = "worker: {fail: '{{ fail | default(false) }}'}"


def play(folder: Path, *arguments: str, task: str = WORKER) -> subprocess.CompletedProcess[str]:
    """Run the action above, or another task, in a real playbook."""
    for name, text in (("action_plugins/worker.py", ACTION), ("library/worker.py", MODULE)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        f"    - {task}\n      register: done\n"
        "    - debug: {var: done}\n")
    (folder / "ansible.cfg").write_text("[defaults]\n")
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"), "ANSIBLE_NOCOLOR": "1",
                   "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
                   "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
                   "ANSIBLE_ASYNC_DIR": str(folder / "async"), "ANSIBLE_REMOTE_TEMP": str(folder / "tmp")}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local",
               "-e", f"ansible_python_interpreter={sys.executable}", str(folder / "play.yml"), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, text=True, capture_output=True, timeout=60, check=False)


def test_a_long_module_runs_apart_tells_its_progress_and_holds_a_lease(tmp_path: Path) -> None:
    done = play(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "work: 10 blocks" in done.stdout and "work: 60 blocks" in done.stdout
    assert '"leased": true' in done.stdout and '"direct": false' in done.stdout
    assert not list((tmp_path / "async").glob("*"))


def test_p06_a_worker_that_fails_ends_the_wait_with_its_own_sentence(tmp_path: Path) -> None:
    done = play(tmp_path, "-e", "fail=true")
    assert done.returncode == 2 and "the disk is full" in done.stdout


def test_in_check_mode_there_is_no_async(tmp_path: Path) -> None:
    done = play(tmp_path, "--check")
    assert done.returncode == 0 and '"direct": true' in done.stdout, done.stdout + done.stderr


def long_task(argv: list[str], timeout: int = 30) -> str:
    return ("dfir.aws.long_task: {subject: tool, text: at work, module: ansible.legacy.command, "
            f"arguments: {{argv: {json.dumps(argv)}}}, timeout: {timeout}}}")


def test_somebody_elses_module_runs_apart_and_is_said_to_work(tmp_path: Path) -> None:
    done = play(tmp_path, task=long_task(["sh", "-c", "sleep 1; echo finished"]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tool: at work" in done.stdout and '"stdout": "finished"' in done.stdout
    assert "ASYNC" not in done.stdout and not list((tmp_path / "async").glob("*"))


def test_p06_somebody_elses_module_that_fails_fails_the_task(tmp_path: Path) -> None:
    done = play(tmp_path, task=long_task(["sh", "-c", "echo no space left >&2; exit 3"]))
    assert done.returncode == 2 and "no space left" in done.stdout


LINGERS = "import os, sys, time; os.setpgid(0, 0); time.sleep(12); open(sys.argv[1], 'w')"


@pytest.mark.parametrize("alone", [False, True], ids=["in_its_group", "in_a_group_of_its_own"])
def test_one_that_takes_too_long_is_stopped(tmp_path: Path, alone: bool) -> None:
    """Also where the wrapper's way, to kill a process group, would miss it."""
    mark = str(tmp_path / "late")
    argv = [sys.executable, "-c", LINGERS, mark] if alone else ["sh", "-c", f"sleep 12; touch {mark}"]
    done = play(tmp_path, task=long_task(argv, timeout=2))
    assert done.returncode == 2 and "has not ended after 2 s; it has been stopped" in done.stdout
    assert not [words for words in commands() if mark in words and "async_wrapper" not in words]
    assert not Path(mark).exists()


def commands() -> list[str]:
    """The command lines of all processes."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found
