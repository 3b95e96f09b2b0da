# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several small files in one go: as they should be, whole, and left alone when they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.modules import host_files


def run(*files: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
    """The real module in a process of its own, as a host runs it."""
    arguments = {"files": list(files), "_ansible_check_mode": check, "_ansible_diff": True, **more}
    done = subprocess.run([sys.executable, host_files.__file__], input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
                          capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout or json.dumps({"failed": True, "msg": done.stderr})))


def test_files_are_written_once_with_their_permissions(tmp_path: Path) -> None:
    unit = {"dest": str(tmp_path / "etc" / "a.service"), "content": "[Unit]\nName=ü\n"}
    command = {"dest": str(tmp_path / "bin"), "content": "#!/bin/sh\n", "mode": "0755"}
    first = run(unit, command)
    assert first["changed"] and first["written"] == [unit["dest"], command["dest"]], first
    assert Path(unit["dest"]).read_text(encoding="utf-8") == unit["content"]
    assert Path(unit["dest"]).stat().st_mode & 0o7777 == 0o644 and os.access(command["dest"], os.X_OK)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.service", "bin", "etc"]

    again = run(unit, command)
    assert not again["changed"] and again["written"] == []
    Path(command["dest"]).chmod(0o700)
    assert run(unit, command)["written"] == [command["dest"]]
    assert Path(command["dest"]).stat().st_mode & 0o7777 == 0o755


def test_check_mode_says_what_would_change_and_writes_nothing(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("old\n")
    told = run({"dest": str(there), "content": "new\n"}, {"dest": str(tmp_path / "x" / "new"), "content": ""},
               check=True)
    assert told["changed"] and told["written"] == [str(there), str(tmp_path / "x" / "new")]
    assert told["diff"][0]["before"] == "old\n" and told["diff"][0]["after"] == "new\n"
    assert there.read_text() == "old\n" and not (tmp_path / "x").exists()


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not ours\n")
    (tmp_path / "link").symlink_to(other)
    assert run({"dest": str(tmp_path / "link"), "content": "ours\n"})["changed"]
    assert other.read_text() == "not ours\n" and not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "ours\n"


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    folder = run({"dest": str(tmp_path), "content": ""})
    assert folder["msg"] == f"{tmp_path} is a folder: a file cannot be written there."
    assert run({"dest": "a", "content": ""})["msg"] == "a is no absolute path."
    (tmp_path / "file").write_text("")
    wrong = run({"dest": str(tmp_path / "file" / "below"), "content": ""})
    assert wrong["failed"] and wrong["msg"].startswith(f"{tmp_path}/file/below cannot be written: ")
