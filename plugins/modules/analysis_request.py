#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: analysis_request
short_description: Let an analysis request in, or say why not
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Reads the variables of a request as they arrived, from a survey, a webhook or a command line, and never renders
    them.
  - Checks every field, decides whether the analyst may do this, and returns one structure that later steps work with.
  - Refuses a run that brings along, as an extra variable, a name of the project's own, an operator setting
    (C(dfir_*)), a connection setting (C(ansible_*)), or a name of the automation platform (C(awx_*), C(tower_*)) where
    the platform did not give it.
  - Inside the automation platform the analyst is bound to the platform's user; on a command line, to the caller's AWS
    identity. There, it is a safeguard and not a barrier, since whoever holds the credentials can do without this
    project.
  - Nothing is created and nothing is changed.
notes:
  - "The request's own fields are variables, not options: C(analyst_uid), C(incident), C(aws_analysis_region),
    C(aws_snapshot_region), C(aws_snapshot_id), C(aws_ec2_instance_type), C(forensics_mode), C(journal),
    C(time_limit_hours), C(max_cost_usd), C(max_hours), C(wait_for_results) and C(attempt). They must be plain values
    (C(aws_snapshot_id) may be a list of them); a value that holds a template is refused."
  - Instance types must be x86_64 (the analysis image is built for amd64) and on Nitro.
options:
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
  time_limit_minimum:
    description: The shortest time limit in hours that may be asked for.
    type: float
    default: 1
  time_limit_maximum:
    description: The longest time limit in hours that may be asked for.
    type: float
    default: 72
  service_principal:
    description:
      - The platform user on whose behalf jobs without a person run (schedules, events). Empty refuses such jobs.
    type: str
    default: ""
  trust_workflow_user:
    description:
      - Take the launcher of a workflow as the person who asks. The platform names one only if a person launched it, so
        set this when no workflow that runs requests has a schedule or a webhook.
    type: bool
    default: false
  several:
    description:
      - Let C(aws_snapshot_id) name several snapshots, as a list or with commas between them, up to 500. For tasks that
        take them all.
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
- name: Let the request in
  dfir.aws.analysis_request:
    analysts: "{{ request_analysts }}"
    artifact_bucket: "{{ request_artifact_bucket }}"
  register: request_admitted
"""

RETURN = r"""
request_spec:
  description: The request, checked and authorized.
  returned: success
  type: dict
  sample:
    request_id: 3f0c6a5d9b1e2f47
    incident: INC-2026-0042
    analysis_region: eu-west-1
    snapshots:
      - id: snap-0123456789abcdef0
        region: us-east-1
        artifact_prefix: INC-2026-0042/snap-0123456789abcdef0/
holder:
  description: A name for this run, for the lease of the request's record.
  returned: success
  type: str
  sample: awx-job-4711
key:
  description: The id that the request would have, where its fields are right.
  returned: when the registry refuses it, unless O(several)
  type: str
  sample: 3f0c6a5d9b1e2f47
refused:
  description: Whether the request was refused, as opposed to something being wrong on our side.
  returned: failure
  type: bool
fields:
  description: The fields or rights that the refusal is about.
  returned: failure
  type: list
  elements: str
  sample: [aws_snapshot_id]
"""
# Implemented in plugins/action/analysis_request.py: only an action sees variables unrendered.
