# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a triage leaves out to be quick: the old end of long logs, and scripts that nothing points at. It says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import find_logins, find_web

from tests.unit.triage.triage_kit import SYSTEM, ext4, tree, triage

pytestmark = pytest.mark.slow

SHELL = "<?php eval(base64_decode($_POST['x'])); ?>"


def look(folder: Path, files: dict[str, str]) -> list[dict[str, Any]]:
    image = ext4(folder / "root.img", tree(folder / "root", {**SYSTEM, **files}))
    findings: list[dict[str, Any]] = triage(image).report()["findings"]
    return findings


def attempts(address: str, count: int, day: int) -> str:
    said = f"web-01 sshd[9]: Failed password for root from {address} port 4 ssh2"
    return "".join(f"2026-09-{day:02d}T10:{number % 60:02d}:00Z {said}\n" for number in range(count))


def test_the_newest_end_of_a_long_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = attempts("203.0.113.5", 400, 1) + attempts("203.0.113.9", 20, 9) + (
        "2026-09-09T11:00:00Z web-01 sshd[9]: Accepted password for root from 203.0.113.9 port 4 ssh2\n")
    whole = look(tmp_path, {"var/log/auth.log": log})
    assert not [item for item in whole if item["rule"] == "log_unread"]
    monkeypatch.setattr(find_logins, "QUICK_TEXT", 4096)
    found = look(tmp_path, {"var/log/auth.log": log})
    [broken_in] = [item for item in found if item["rule"] == "guessed_password"]
    assert "203.0.113.9" in broken_in["reason"] and broken_in["severity"] == "critical"
    assert [item["path"] for item in found if item["rule"] == "log_unread"] == ["/var/log/auth.log"]


def test_of_many_who_guess_the_busiest_are_named_and_the_others_counted(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_logins, "GUESSERS", 2)
    log = "".join(attempts(f"203.0.113.{number}", 10 + number, number) for number in range(1, 6))
    found = look(tmp_path, {"var/log/auth.log": log})
    named = [item["reason"] for item in found if item["rule"] == "password_guessing"]
    assert len(named) == 2 and all("203.0.113.4" in text or "203.0.113.5" in text for text in named)
    [rest] = [item for item in found if item["rule"] == "more_guessing"]
    assert rest["reason"].startswith("36 failed logins from 3 more addresses") and rest["severity"] == "low"


def test_scripts_that_stand_out_are_read_first_and_what_was_not_is_said(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"var/www/shop/lib/file{number}.php": "<?php echo 1; ?>" for number in range(20)}
    files |= {f"var/www/shop/img/picture{number}.png": "png" for number in range(5)}
    files["var/www/shop/img/thumb.php"] = SHELL
    monkeypatch.setattr(find_web, "QUICK", 3)
    found = look(tmp_path, files)
    assert [item["path"] for item in found if item["kind"] == "web_shell"] == ["/var/www/shop/img/thumb.php"]
    [unread] = [item for item in found if item["rule"] == "scripts_unread"]
    assert unread["reason"].startswith("17 scripts")
    monkeypatch.setattr(find_web, "QUICK", 100)
    assert not [item for item in look(tmp_path, files) if item["rule"] == "scripts_unread"]
