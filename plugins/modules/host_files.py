#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Write several small text files in one go
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Writes small files, such as units, settings and commands, whose content comes with the task. All take one round trip
    to the host, where M(ansible.builtin.copy) and M(ansible.builtin.template) take several for each file.
  - A file that is as it should be is left alone. Any other is written beside its place and moved there, so that nobody
    ever reads half of it.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      dest:
        description: Absolute path. The folder is made when it is missing.
        type: path
        required: true
      content:
        description: The whole content.
        type: str
        required: true
      mode:
        description: Permissions.
        type: raw
        default: "0644"
  owner:
    description: Who owns them.
    type: str
  group:
    description: Their group.
    type: str
extends_documentation_fragment:
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: ansible.builtin.copy
  - module: ansible.builtin.template
"""

EXAMPLES = r"""
- name: Write a unit and a command
  dfir.aws.host_files:
    files:
      - dest: /etc/systemd/system/hello.service
        content: "{{ lookup('ansible.builtin.template', 'hello.service.j2') }}"
      - dest: /usr/local/bin/hello
        content: "{{ lookup('ansible.builtin.template', 'hello.j2') }}"
        mode: "0755"
    owner: root
    group: root
"""

RETURN = r"""
written:
  description: The files whose content or attributes were not as they should be.
  returned: success
  type: list
  elements: str
  sample: [/etc/systemd/system/hello.service]
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def current(dest: Path) -> str | None:
    """What the file holds; None where there is no file."""
    try:
        return dest.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def write(module: AnsibleModule, dest: Path, content: str) -> None:
    """The content under its name, whole or not at all."""
    dest.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{dest.name}.", dir=dest.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content.encode())
    module.add_cleanup_file(beside)
    module.atomic_move(beside, str(dest))


def settle(module: AnsibleModule, file: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Make one file what it should be; whether it was not, and the difference."""
    dest = Path(file["dest"])
    if not dest.is_absolute():
        module.fail_json(msg=f"{dest} is no absolute path.")
    if dest.is_dir():
        module.fail_json(msg=f"{dest} is a folder: a file cannot be written there.")
    before = current(dest)
    differs = before != file["content"]
    if differs and not module.check_mode:
        write(module, dest, file["content"])
    diff = {"before_header": str(dest), "after_header": str(dest), "before": before or "", "after": file["content"]}
    if module.check_mode and before is None:  # there are no attributes to compare
        return True, diff
    attributes = module.load_file_common_arguments(
        {**module.params, "path": str(dest), "mode": file["mode"]}, path=str(dest))
    return module.set_fs_attributes_if_different(attributes, differs), diff


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list", "elements": "dict", "required": True,
                "options": {
                    "dest": {"type": "path", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "raw", "default": "0644"},
                },
            },
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    written, diffs = [], []
    for file in module.params["files"]:
        try:
            changed, diff = settle(module, file)
        except OSError as error:
            module.fail_json(msg=f"{file['dest']} cannot be written: {error.strerror or error}.")
        if changed:
            written.append(file["dest"])
            diffs.append(diff)
    module.exit_json(changed=bool(written), written=written, diff=diffs)


if __name__ == "__main__":
    main()
