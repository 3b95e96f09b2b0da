# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rebuilds each event from checked fields only."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

DOCUMENTATION = r"""
---
short_description: Rebuild each event from checked fields only
description:
  - Nothing from an event is trusted. What leaves this filter is made anew, from values that passed the table of fields
    which every other door of the collection uses; all else, headers too, is dropped.
  - What does not fit becomes an event of C(kind) V(refused), with a reason that is made of the collection's own words.
  - It never raises and never returns None. Either would end the whole process of ansible-rulebook.
options:
  door:
    description: What this source may bring, a request (V(requests)) or an AWS finding (V(findings)).
    type: str
    choices: [requests, findings]
    required: true
"""

EXAMPLES = r"""
- eda.builtin.webhook:
    port: 5000
    hmac_secret: "{{ DFIR_EDA_HMAC_SECRET }}"
  filters:
    - dfir.aws.checked_event:
        door: requests
"""

# A filter is run as a file and cannot import collections: the two files of the table are loaded by path, as parts of a
# package without a name of its own in any collection.
PACKAGE = "dfir_aws_fields_by_path"


def _table() -> Any:
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(Path(__file__).resolve().parents[4] / "plugins" / "module_utils")]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.event_fields")


TABLE = _table()  # here, so that an installation that lacks it ends at the start and not at the first event


def main(event: dict[str, Any], door: str) -> list[dict[str, Any]]:
    """What rules may see of an event."""
    try:
        made: list[dict[str, Any]] = TABLE.rebuilt(event, door)
    except Exception:  # whatever a hostile body did: an exception would end the process for everybody
        made = [TABLE.refused(door, "broken")]
    return made
