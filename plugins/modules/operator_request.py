#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: operator_request
short_description: Let somebody in who asks for requests that exist, or for instances to be acquired
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Reads the variables of a wish as they arrived and never renders them, and refuses the same names of extra
    variables as M(dfir.aws.analysis_request).
  - Decides on the same registry. Whoever might have made a request may see it and end it; an operator is an entry of
    the registry with grants of its own. A request without that right is answered as one that does not exist.
  - Nothing is created and nothing is changed.
notes:
  - "The fields are variables, not options: C(analyst_uid) (who asks) and C(request_id) or C(incident) for O(wish=show),
    C(analyst_uid), C(request_id) and C(take_over) for O(wish=close), C(analyst_uid), C(incident) and C(noted_head) for
    O(wish=verify_case), C(analyst_uid) and C(incident) for O(wish=close_case), C(remove_outlived) for O(wish=reap),
    C(analyst_uid), C(delete_expired) and C(apply_lifecycle) for O(wish=expire), C(event_door) and C(event_reason) for
    O(wish=refuse), those of docs/acquisition.md for O(wish=acquire), those of docs/containment.md for O(wish=contain)
    and O(wish=release), and those of docs/sharing.md for O(wish=share)."
  - "Needed: C(s3:ListBucket) on the bucket and C(s3:GetObject) on C(requests/*)."
options:
  wish:
    description:
      - What is asked for. V(show) finds the records of one request or of an incident, V(close) the record of one.
        V(reap) and V(refuse) choose none, and only read their fields.
      - V(expire) chooses none either. It takes an entry of the registry with C(retention) among its C(rights).
      - V(verify_case) and V(close_case) are about the custody ledger of an incident, and choose no records. Whoever may
        have something analyzed for the incident may have it checked and closed.
      - V(acquire) makes a request of instances; a grant must give the mode C(acquire).
      - V(contain) and V(release) make a request of one instance, whose id is given twice; a grant must give the mode
        C(contain). They are refused to events, schedules and the service principal, and so is V(acquire) with
        C(contain).
      - V(share) makes one of snapshots for another account; a grant must give the mode C(share) for both accounts.
    type: str
    choices: [show, close, verify_case, close_case, expire, reap, refuse, acquire, contain, release, share]
    required: true
  bucket:
    description: The bucket that holds the records. Not needed where none are chosen.
    type: str
    default: ""
  bucket_region:
    description: Its region.
    type: str
    default: ""
  member_accounts:
    description:
      - For O(wish=acquire), how accounts that are not this run's own are entered - by account C(role),
        C(external_id) and, as V(false), C(source_identity). The account C(*) stands for all that have no entry.
    type: dict
    default: {}
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
  service_principal:
    description:
      - The platform user on whose behalf jobs without a person run. Empty refuses such jobs.
    type: str
    default: ""
  trust_workflow_user:
    description:
      - Take the launcher of a workflow as the person who asks.
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
seealso:
  - module: dfir.aws.analysis_request
"""

EXAMPLES = r"""
- name: Let the operator in
  dfir.aws.operator_request:
    wish: close
    bucket: dfir-artifacts-123456789012
    bucket_region: eu-west-1
    analysts: "{{ dfir_aws_analysts }}"
  register: close_request_wish
"""

RETURN = r"""
asked:
  description: The fields, checked.
  returned: success
  type: dict
records:
  description: The records that may be seen, oldest first.
  returned: success
  type: list
  elements: dict
request_spec:
  description: What was asked for, checked and authorized.
  returned: for O(wish=acquire), O(wish=contain), O(wish=release) and O(wish=share)
  type: dict
hidden:
  description: How many more there are of the incident that may not be seen.
  returned: when records are chosen
  type: int
caller:
  description: Who asks - C(kind), C(name) and C(arn).
  returned: when somebody has to ask
  type: dict
operator:
  description: The registry's entry of who asks - C(uid), C(name), C(email) and C(timezone).
  returned: with O(wish=expire)
  type: dict
holder:
  description: A name for this run, for the lease of a request's record.
  returned: success
  type: str
refused:
  description: Whether the wish was refused, as opposed to something being wrong on our side.
  returned: failure
  type: bool
fields:
  description: The fields or rights that a refusal is about.
  returned: failure
  type: list
  elements: str
"""
# Implemented in plugins/action/operator_request.py: only an action sees variables unrendered.
