# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mails of role `notify` as they would be sent for given facts, and what makes a text unfit to be read."""

from __future__ import annotations

import importlib
import re
import unicodedata
from pathlib import Path
from typing import Any

import jinja2

CHECKOUT = Path(__file__).resolve().parents[3]
REQUEST = {
    "request_id": "0123456789abcdef", "attempt": 1, "mode": "automatic", "incident": "INC-1", "account": "111122223333",
    "analysis_region": "eu-central-1", "instance_type": "m6i.large", "requested_at": "2026-11-28T09:00:00Z",
    "analyst": {"name": "Ada", "uid": "ada", "email": "ada@example.org", "cidrs": ["192.0.2.1/32"]},
    "caller": {"name": "ada", "kind": "cli"}, "artifact_bucket": "results", "artifact_prefix": "INC-1/snap-1/",
    "snapshots": [{"id": "snap-1", "region": "eu-central-1", "artifact_prefix": "INC-1/snap-1/"}], "record": {}}


def mails(evidence: dict[str, Any], summary: dict[str, Any], marker: dict[str, Any], reason: str) -> dict[str, str]:
    """The texts of the mails ready, done and alert."""
    filters: dict[str, Any] = {}
    for path in sorted((CHECKOUT / "plugins/filter").glob("*.py")):
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.filter.{path.stem}")
        filters |= {f"dfir.aws.{name}": function for name, function in module.FilterModule().filters().items()}
    # As Ansible reads templates: blocks take their line break along.
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(CHECKOUT / "roles/notify/templates"),
                                     trim_blocks=True, autoescape=False)
    environment.filters |= filters
    known = {"notify_request": REQUEST, "notify_evidence": evidence, "notify_summary": summary, "notify_marker": marker,
             "notify_reason": reason, "notify_step": "evidence", "notify_timezone": "UTC", "notify_expired": False,
             "notify_resources": [], "notify_cleaned": [], "notify_unknown": "", "notify_analyst": {},
             "notify_custody": {},
             "notify_toolbox": {}, "notify_toolbox_oldest_days": 30, "notify_access": {}, "notify_plan": {},
             "notify_ssh_via": "direct", "notify_ssh_jump": "", "notify_ssh_endpoint_id": "", "notify_ssh_options": [],
             "notify_next_step": "", "notify_host": {"instance_id": "i-0123456789abcdef0", "private_ip": "10.0.0.5",
                                                     "deadline": "2026-11-28T12:00:00Z"}}
    return {kind: environment.get_template(f"{kind}.txt.j2").render(**known) for kind in ("ready", "done", "alert")}


def unfit(text: str) -> list[str]:
    """Characters that no report may hold: what steers a terminal, hides or reorders text, or is no text at all."""
    return sorted({f"U+{ord(char):04X}" for char in text
                   if char != "\n" and (unicodedata.category(char) in ("Cc", "Cf", "Cs") or char in "\u2028\u2029")})


def forged(text: str, words: str) -> list[str]:
    """Lines that begin with what somebody wanted to put on a line of its own."""
    return [line for line in text.split("\n") if re.match(rf"\s*{re.escape(words)}", line)]
