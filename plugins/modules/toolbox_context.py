#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toolbox_context
short_description: Gather what the image of tools is built from
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Puts this collection's own part of the image and a team's rules into one archive, the context of a build, and says
    by a hash which content that is. Two runs with the same files, base and arguments have the same hash.
  - Runs where this collection is, on the controller.
options:
  project:
    description: The root of this collection.
    type: path
    required: true
  containerfile:
    description: A Containerfile of your own, in place of the collection's.
    type: path
  inputs:
    description: What else makes another image, such as its base and the arguments of the build.
    type: dict
    default: {}
  rules:
    description: A team's YARA rules and ClamAV signatures.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: What they are. A vendor's databases (C(daily.cvd)) are V(clamav).
        type: str
        choices: [yara, clamav]
        required: true
      name:
        description: The name under which mails and results tell of them.
        type: str
        required: true
      path:
        description: A file, or a folder with any depth. Files that are no rules are left out.
        type: path
        required: true
      version:
        description: Their version. Without one, it is the beginning of a hash.
        type: str
      date:
        description: From when they are. Without one, it is the time of the newest file.
        type: str
  dest:
    description: Where the archive goes. Without it, nothing is written.
    type: path
attributes:
  check_mode:
    support: full
    details: Nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: The archive is a file for one build, and no change.
extends_documentation_fragment:
  - dfir.aws.aws.attributes
seealso:
  - module: dfir.aws.toolbox_versions_info
"""

EXAMPLES = r"""
- name: Gather what the image is built from
  dfir.aws.toolbox_context:
    project: /srv/dfir.aws
    rules:
      - {kind: yara, name: team, path: /srv/rules, version: "2026.11"}
    inputs: {base: "docker.io/library/debian:12-slim"}
    dest: /tmp/context.tar
"""

RETURN = r"""
content:
  description: The hash, 16 hexadecimal digits.
  returned: success
  type: str
image:
  description: The version of an image that is built now, the project's own with the moment.
  returned: success
  type: str
  sample: 0.1.0-20261127.101500
built:
  description: That moment, ISO 8601 in UTC.
  returned: success
  type: str
files:
  description: How many files there are.
  returned: success
  type: int
sets:
  description: The team's sets, C(kind), C(name), C(version), C(date) and the number of C(files) each.
  returned: success
  type: list
  elements: dict
"""

from datetime import datetime, timezone
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.toolbox_context import Context, ContextRefused, Source, describe

RULES = {
    "kind": {"type": "str", "choices": ["yara", "clamav"], "required": True},
    "name": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "version": {"type": "str"},
    "date": {"type": "str"},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(supports_check_mode=True, argument_spec={
        "project": {"type": "path", "required": True},
        "containerfile": {"type": "path"},
        "inputs": {"type": "dict", "default": {}},
        "rules": {"type": "list", "elements": "dict", "default": [], "options": RULES},
        "dest": {"type": "path"},
    })
    given = module.params
    own = Path(given["containerfile"]) if given["containerfile"] else None
    try:
        sources = [Source.load(entry) for entry in given["rules"]]
        context = Context(Path(given["project"]), sources, own)
        image, built = context.version(datetime.now(timezone.utc))
        if given["dest"] and not module.check_mode:
            context.write(Path(given["dest"]), image, built)
    except ContextRefused as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The context of the build cannot be gathered: {error}.")
    inputs = {str(name): str(value) for name, value in given["inputs"].items()}
    module.exit_json(changed=False, content=context.content(inputs), image=image, built=built,
                     files=len(context.files), sets=[describe(source) for source in sources])


if __name__ == "__main__":
    main()
