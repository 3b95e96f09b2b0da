# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules of this collection have in common beyond C(amazon.aws)' own fragments."""

    ATTRIBUTES = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tells what it would change, without changing anything.
  diff_mode:
    description: Returns details on what has changed, or would change, in diff mode.
  idempotent:
    description: A second run in the same state changes nothing.
"""

    HOLDER = r"""
options:
  holder:
    description:
      - Who holds the lease of the request, as RV(dfir.aws.analysis_request#module:holder) gave it.
    type: str
"""

    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    description: Changes nothing.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

    ACCESS = r"""
options:
  access:
    description:
      - How accounts that are not this run's own are entered, as the filters P(dfir.aws.acquisition_access#filter) and
        P(dfir.aws.sharing_access#filter) say it.
    type: list
    elements: dict
    default: []
    suboptions:
      account:
        description: The account.
        type: str
        required: true
      role_arn:
        description: The role that is assumed.
        type: str
        required: true
      external_id:
        description: What its trust policy wants to hear.
        type: str
      session_name:
        description: Under which name the account's CloudTrail shows the session.
        type: str
        required: true
      source_identity:
        description: Who is behind it. The trust policy must allow it.
        type: str
"""
