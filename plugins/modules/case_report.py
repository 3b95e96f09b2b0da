#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: case_report
short_description: Write the HTML report of a triage or a case
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Makes one self-contained HTML file of the data that a triage or a case left, on the controller.
  - The file needs no network. It holds the summary, the findings by severity, a timeline that can be searched and
    zoomed, tables that sort, and hashes. Nothing from the evidence can run in it.
  - The same data gives the same bytes, so a report that is there already is not written again.
options:
  data:
    description:
      - The JSON file with the data, on the controller. Either this or O(content).
      - A relative path is below the playbook's folder.
    type: path
  content:
    description: The data itself. Prefer O(data) for what holds a timeline.
    type: dict
  dest:
    description:
      - The HTML file. It is replaced as a whole, and nobody but its owner may read it.
      - Its folder must exist.
    type: path
    required: true
  json_dest:
    description: Where the data is written to as well, for machines.
    type: path
  known:
    description: What is known without the data, and stands in the report whatever the data says, such as C(incident).
    type: dict
    default: {}
extends_documentation_fragment:
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: dfir.aws.analysis_request
"""

EXAMPLES = r"""
- name: Write the report
  dfir.aws.case_report:
    data: /srv/cases/INC-2026-0042/triage.json
    dest: /srv/cases/INC-2026-0042/report.html
  register: report

- name: Show it in short
  ansible.builtin.debug:
    msg: "{{ report.short.splitlines() }}"
"""

RETURN = r"""
path:
  description: The HTML file.
  returned: success
  type: str
  sample: /srv/cases/INC-2026-0042/report.html
sha256:
  description: The SHA-256 of the HTML file.
  returned: success
  type: str
bytes:
  description: The size of the HTML file.
  returned: success
  type: int
short:
  description:
    - The short version for mails - facts, counts by severity, the worst findings, warnings, where to look.
    - At most 25 lines of at most 78 columns.
  returned: success
  type: str
"""
# Implemented in plugins/action/case_report.py: the data is the controller's.
