# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a copy of a report stays on the controller, and where none does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.filter.reports_folder import reports_folder

PARTS = ["INC-1", "snap-1", "triage"]


def test_a_laptop_keeps_it_where_the_playbook_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    assert reports_folder(PARTS) == f"{tmp_path}/dfir-reports/INC-1/snap-1/triage"


def test_a_job_of_the_platform_keeps_none_but_where_that_was_chosen() -> None:
    assert reports_folder(PARTS, None, True) == ""
    assert reports_folder(PARTS, "/srv/cases", True) == "/srv/cases/INC-1/snap-1/triage"


def test_none_is_kept_where_that_was_chosen_or_nothing_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reports_folder(PARTS, "") == ""
    monkeypatch.setenv("PWD", "/somewhere")
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != ("/somewhere", os.W_OK))
    assert reports_folder(PARTS) == ""
