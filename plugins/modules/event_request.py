#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: event_request
short_description: Let an event in, or say why not
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Reads the variables of an event as they arrived, from a rulebook, and never renders them.
  - Checks every field and the event's age, and makes a request of it in the name of an entry of the registry that the
    operator chose. What that entry may not, events may not.
  - Refuses a run that brings along names which M(dfir.aws.analysis_request) refuses.
  - Nothing is created and nothing is changed.
notes:
  - "The event's fields are variables, not options: C(event_id), C(event_time), C(event_source), C(event_account),
    C(event_region), C(event_resource) and C(event_finding)."
options:
  analyst:
    description: The uid of the registry's entry for which events are answered. Empty refuses them.
    type: str
    default: ""
  incident_prefix:
    description: How the names of incidents begin. Day and event follow.
    type: str
    default: EVENT
  max_age_minutes:
    description: Older events are refused.
    type: int
    default: 60
  registry_source:
    description:
      - Where the registry of analysts comes from.
      - V(inventory) takes O(analysts); V(file) reads O(registry_file) on the controller.
    type: str
    choices: [inventory, file]
    default: inventory
  analysts:
    description: The registry of analysts, as a list of entries.
    type: list
    elements: dict
    default: []
  registry_file:
    description: A YAML or JSON file with the registry.
    type: str
    default: ""
  artifact_bucket:
    description: The bucket that will hold the artifacts.
    type: str
    required: true
  service_principal:
    description:
      - The platform user on whose behalf jobs without a person run. Empty refuses such jobs.
    type: str
    default: ""
  trust_workflow_user:
    description: Take the launcher of a workflow as the person who asks.
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Let the event in
  dfir.aws.event_request:
    analyst: events
    analysts: "{{ event_analysts }}"
    artifact_bucket: "{{ event_artifact_bucket }}"
  register: event_admitted
"""

RETURN = r"""
request_spec:
  description:
    - The request, checked and authorized, as M(dfir.aws.analysis_request) returns it. The id of its snapshot is that of
      the event's resource, which may be an instance.
  returned: success
  type: dict
key:
  description: What stands for the event, the same for each time that it is delivered.
  returned: when its fields are right
  type: str
  sample: 3f0c6a5d9b1e2f47
event:
  description: The event's checked fields.
  returned: when its fields are right
  type: dict
holder:
  description: A name for this run.
  returned: success
  type: str
  sample: awx-job-4711
refused:
  description: Whether the event was refused, as opposed to something being wrong on our side.
  returned: failure
  type: bool
fields:
  description: The fields or rights that the refusal is about.
  returned: failure
  type: list
  elements: str
  sample: [event_time]
"""
# Implemented in plugins/action/event_request.py: only an action sees variables unrendered.
