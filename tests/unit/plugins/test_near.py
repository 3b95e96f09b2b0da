# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module in a fork of ansible-playbook does what it does as a process of its own, and nothing of it stays behind."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.dfir.aws.plugins.plugin_utils import near
from ansible_collections.dfir.aws.plugins.plugin_utils.near import in_a_fork

from tests.plain_aws import PlainAws, plain_aws

pytestmark = pytest.mark.slow  # processes of their own

CHECKOUT = Path(__file__).resolve().parents[3]
SNAPSHOT = "dfir.aws.ec2_shared_snapshot_info"
KEYS = {"access_key": "test", "secret_key": "a-secret-that-nobody-sees", "region": "eu-west-1"}


@pytest.fixture(scope="module")
def moto() -> Iterator[PlainAws]:
    with plain_aws() as running:
        yield running


def play(folder: Path, given: list[dict[str, Any]], *arguments: str,
         python: str = sys.executable) -> tuple[list[dict[str, Any]], str]:
    """Run tasks on localhost, and give their results and what `-vvv` shows."""
    result = folder / "result.json"
    tasks = [{**task, "register": f"done{number}", "ignore_errors": True} for number, task in enumerate(given)]
    done = "[" + ", ".join(str(task["register"]) for task in tasks) + "]"
    tasks.append({"ansible.builtin.copy": {"dest": str(result), "content": "{{ " + done + " | to_json }}"},
                  "check_mode": False})
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    (folder / "ansible.cfg").write_text("[defaults]\n")
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"), "ANSIBLE_NOCOLOR": "1",
                   "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
                   "ANSIBLE_REMOTE_TEMP": str(folder / "remote")}
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-vvv", "-i", "localhost,", "-c", "local",
         "-e", f"ansible_python_interpreter={python}", str(folder / "play.yml"), *arguments],
        env=environment, text=True, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(result.read_text()), ran.stdout


@pytest.fixture
def another_python(tmp_path: Path) -> str:
    """The same Python under another name, which is not known to be the same."""
    (link := Path(sys.executable).with_name(f"python-{os.getpid()}")).symlink_to(Path(sys.executable).name)
    return str(link)


@pytest.fixture(autouse=True)
def no_link() -> Iterator[None]:
    yield
    Path(sys.executable).with_name(f"python-{os.getpid()}").unlink(missing_ok=True)


def what_counts(done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results without what differs from call to call."""
    return [{key: value for key, value in one.items() if key not in ("response_metadata", "exception")} for one in done]


@pytest.mark.parametrize("more", [[], ["--check"]], ids=["for_real", "check_mode"])
def test_near_or_not_the_result_is_the_same(moto: PlainAws, tmp_path: Path, another_python: str,
                                            more: list[str]) -> None:
    tasks = [{SNAPSHOT: {**KEYS, "endpoint_url": moto.url, "snapshot_id": "snap-0123456789abcdef0"}},
             {SNAPSHOT: {**KEYS, "endpoint_url": "http://127.0.0.1:9", "snapshot_id": "snap-0123456789abcdef0"},
              "environment": {"AWS_MAX_ATTEMPTS": "1"}},
             {SNAPSHOT: {**KEYS, "unknown": 1}}]
    (near, said), (far, said_far) = play(tmp_path, tasks, *more), play(tmp_path, tasks, *more, python=another_python)
    assert said_far.count(f"{SNAPSHOT.rpartition('.')[2]}.py") > 0 == said.count("AnsiballZ_ec2")
    assert what_counts(near) == what_counts(far)
    assert [one.get("failed", False) for one in near] == [False, True, True] and "Traceback" not in said
    assert KEYS["secret_key"] not in said + json.dumps(near)


def test_the_tasks_environment_is_the_modules(moto: PlainAws, tmp_path: Path) -> None:
    """The region comes from there; without it the module fails."""
    task = {SNAPSHOT: {"snapshot_id": "snap-0123456789abcdef0"},
            "environment": {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                            "AWS_ENDPOINT_URL": moto.url}}
    [done], _said = play(tmp_path, [task])
    assert done["snapshots"] == []


def fork(main: Callable[[], None], **environment: str) -> dict[str, Any]:
    return in_a_fork(main, "a.b.c", b"{}", environment)


def test_a_fork_answers_as_a_command_does() -> None:
    def main() -> None:
        print(json.dumps({"given": basic._ANSIBLE_ARGS.decode(), "name": sys.argv[0], "said": os.environ["SAID"]}))
        raise SystemExit(3)

    before = basic._ANSIBLE_ARGS
    said = fork(main, SAID="yes")
    assert said["rc"] == 3 and json.loads(said["stdout"]) == {"given": "{}", "name": "a.b.c", "said": "yes"}
    assert "SAID" not in os.environ and basic._ANSIBLE_ARGS is before


def test_a_module_that_breaks_says_where() -> None:
    said = fork(lambda: [][0])  # type: ignore[arg-type]
    assert said["rc"] == 1 and "IndexError" in said["stderr"] and said["stdout"] == ""


def test_a_module_that_is_killed_is_no_success() -> None:
    assert fork(lambda: os.kill(os.getpid(), signal.SIGKILL))["rc"] == -signal.SIGKILL


def test_only_the_modules_own_clean_up_is_done(tmp_path: Path) -> None:
    ours, its = tmp_path / "of ansible-playbook", tmp_path / "of the module"
    ours.touch()
    remove = atexit.register(ours.unlink, missing_ok=True)
    try:
        def main() -> None:
            its.touch()
            atexit.register(its.unlink)

        assert fork(main)["rc"] == 0
        assert ours.exists() and not its.exists()
    finally:
        atexit.unregister(remove)


def test_whoever_stops_waiting_leaves_no_module_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, wait = threading.Event(), os.waitpid

    def main() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(60)

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        waits.set()
        return wait(pid, options)

    def late(_number: int, _frame: Any) -> None:
        raise TimeoutError

    def ring() -> None:
        waits.wait()  # earlier it would arrive inside fork(), whose handlers swallow what is raised in them
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(os, "waitpid", waitpid)
    before = signal.signal(signal.SIGUSR1, late)
    try:
        threading.Thread(target=ring).start()
        with pytest.raises(TimeoutError):
            fork(main)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


@pytest.mark.parametrize("folder", ["", "own"])
def test_what_botocore_knows_is_read_once_but_for_folders_of_ones_own(tmp_path: Path, folder: str) -> None:
    def main() -> None:
        import botocore.session
        session = botocore.session.get_session()
        print(json.dumps([session.get_component("data_loader") is near._KNOWN,
                          session.create_client("ec2", "eu-west-1", aws_access_key_id="a",
                                                aws_secret_access_key="b").meta.service_model.service_name]))

    said = near.in_a_fork(main, "x", b"{}", {"AWS_DATA_PATH": str(tmp_path / folder)} if folder else {})
    assert json.loads(said["stdout"]) == [not folder, "ec2"], said["stderr"]
