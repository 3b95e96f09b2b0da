#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: long_task
short_description: Run a module that takes long, and say every few seconds that it still works
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Runs a module on the host in the background, as C(async) and C(poll) do, asks after it often at first and every two
    seconds later, and prints a line of progress instead of Ansible's own line for each question.
  - Returns what the module returns.
  - In check mode, the module runs directly.
options:
  module:
    description:
      - The module's full name. One without an action plugin, or V(ansible.legacy.command) with O(arguments) as the
        module takes them.
    type: str
    required: true
  arguments:
    description: The module's arguments.
    type: dict
    default: {}
  subject:
    description: What the line of progress begins with.
    type: str
    required: true
  text:
    description: What the line of progress says.
    type: str
    default: working
  timeout:
    description: Seconds after which the module is stopped and the task fails.
    type: int
    default: 1800
extends_documentation_fragment:
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: partial
    details: As the module does.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: As the module is.
seealso:
  - module: ansible.builtin.async_status
"""

EXAMPLES = r"""
- name: Pull the image
  dfir.aws.long_task:
    subject: image
    text: being pulled
    module: ansible.legacy.command
    arguments:
      argv: [podman, pull, --quiet, registry.example.org/dfir/analyst-tools:0.1.0]
    timeout: 3600
"""

RETURN = r"""
msg:
  description: And everything else that the module returns.
  returned: when the module returns it
  type: str
"""
