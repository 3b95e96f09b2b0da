# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's private key from a look-up: taken only when it will open the hosts, and never shown."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.kit import CHECKOUT, tool_environment

pytestmark = pytest.mark.slow  # processes of their own

PLAY = """
- hosts: localhost
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - ansible.builtin.include_role: {name: dfir.aws.analysis_host, tasks_from: controller_key}
      vars:
        analysis_host_private_key: "{{ given_private }}"
        analysis_host_controller_public_key: "{{ given_public }}"
    - ansible.builtin.debug: {msg: "{{ analysis_host_key_result.file }}"}
"""


def key_pair(folder: Path, name: str, passphrase: str = "") -> tuple[str, str]:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "a comment", "-f", str(path)],
                   check=True, stdin=subprocess.DEVNULL)
    return path.read_text(), path.with_suffix(".pub").read_text()


def play(folder: Path, private: str, public: str) -> subprocess.CompletedProcess[str]:
    (folder / "play.yml").write_text(PLAY)
    (folder / "vars.json").write_text(json.dumps({"given_private": private, "given_public": public}))
    (folder / "temporary").mkdir()
    return subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", "-vvv", "-e", f"@{folder / 'vars.json'}",
         str(folder / "play.yml")], cwd=CHECKOUT, text=True, capture_output=True, check=False, timeout=60,
        env=tool_environment() | {"TMPDIR": str(folder / "temporary")}, stdin=subprocess.DEVNULL)


def left(folder: Path) -> list[Path]:
    return [path for path in (folder / "temporary").rglob("controller") if path.is_file()]


def test_one_that_fits_lies_in_a_file_that_only_the_caller_may_read(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "one")
    done = play(tmp_path, private.strip(), public)  # look-ups strip the last line's end, and SSH wants it
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = left(tmp_path)
    assert file.read_text() == private and file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0
    assert private.splitlines()[2] not in done.stdout


@pytest.mark.parametrize(("what", "words"), [
    ("another", "is not the one whose public half"),
    ("locked", "without a passphrase"),
    ("malformed", "must be an OpenSSH private key"),
])
def test_one_that_opens_no_host_is_refused_and_removed(tmp_path: Path, what: str, words: str) -> None:
    private, public = key_pair(tmp_path, "one", "secret" if what == "locked" else "")
    given = {"another": lambda: key_pair(tmp_path, "two")[0], "locked": lambda: private,
             "malformed": lambda: "no key at all"}[what]()
    done = play(tmp_path, given, public)
    assert done.returncode == 2 and words in " ".join(done.stdout.split()), done.stdout + done.stderr
    assert left(tmp_path) == []
    assert given.splitlines()[-2:][0] not in done.stdout
