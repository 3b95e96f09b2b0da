# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run brings along is refused before anything is rendered or created."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.event_fields import EVENT_NAMES

from tests.request_kit import PLAY, Run, flat, objects

pytestmark = pytest.mark.slow  # processes of their own


def test_p64_a_template_in_a_request_is_never_rendered(site: dict[str, Any], run: Run, table: dict[str, Any]) -> None:
    marker = site["folder"] / "rendered"
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    done = run({**table["valid"], "incident": template, "aws_snapshot_id": template})
    assert done.returncode != 0 and not marker.exists()
    assert "Request refused. incident holds a template" in flat(done.stdout)
    assert objects(site) == []


def test_p63_a_forged_fact_and_a_forged_registry_are_refused(site: dict[str, Any], run: Run, table: dict[str, Any]
                                                             ) -> None:
    forged = {"request_result": {"request_id": "0"}, "dfir_aws_analysts": [], "awx_user_name": "alice"}
    done = run({**table["valid"], **forged})
    assert done.returncode != 0 and objects(site) == []
    for name in forged:
        assert f" {name} is " in flat(done.stdout)


def test_p64_a_template_in_an_event_is_never_rendered(site: dict[str, Any], run: Run) -> None:
    marker = site["folder"] / "rendered"
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    (site["folder"] / "event.yml").write_text(PLAY.replace("dfir.aws.request", "dfir.aws.event"))
    done = run({**dict.fromkeys(EVENT_NAMES, template), "ansible_eda": {"event": {template: [template]}}},
               name="event.yml")
    assert done.returncode != 0 and not marker.exists() and objects(site) == []
    for name in EVENT_NAMES:
        assert f"{name} holds a template" in flat(done.stdout)
