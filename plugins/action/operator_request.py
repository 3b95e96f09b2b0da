# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets in somebody who asks for requests that exist, to see, end or reap them; for instances to be acquired, contained
or released; or for a case to be checked, and copies to go that are kept for long enough.

An action for the same reason as `analysis_request`: it sees variables as they arrived. Documented in
plugins/modules/operator_request.py.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.vars import load_extra_vars
from ansible_collections.dfir.aws.plugins.action.analysis_request import OPTIONS as DOOR
from ansible_collections.dfir.aws.plugins.action.analysis_request import ActionModule as FrontDoor
from ansible_collections.dfir.aws.plugins.module_utils import operator_fields, registry, request_door
from ansible_collections.dfir.aws.plugins.module_utils.acquisition import labels
from ansible_collections.dfir.aws.plugins.module_utils.containment import labels as containment
from ansible_collections.dfir.aws.plugins.module_utils.request_fields import Problem
from ansible_collections.dfir.aws.plugins.module_utils.sharing import door as sharing
from ansible_collections.dfir.aws.plugins.plugin_utils.filters_at_hand import import_filters
from ansible_collections.dfir.aws.plugins.plugin_utils.lease import holder

REGISTRY = ("registry_source", "analysts", "registry_file", "service_principal", "trust_workflow_user")
EVERY_DAY = 36500.0  # an incident's requests are shown however old they are


import_filters()  # for all tasks that follow


class ActionModule(FrontDoor):
    """See the module's documentation."""

    known = {
        "wish": {"type": "str", "required": True, "choices": list(operator_fields.WISHES)},
        "bucket": {"type": "str", "default": ""},
        "bucket_region": {"type": "str", "default": ""},
        "member_accounts": {"type": "dict", "default": {}},
        **{name: DOOR[name] for name in REGISTRY},
    }

    def _admit(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        options = self._options()
        wish = options["wish"]
        extra = load_extra_vars(self._loader)
        on_platform = request_door.on_platform(extra, os.environ)
        files = [operator_fields.FILES[wish].name] if wish in operator_fields.FILES else []
        problems = request_door.refused_names(extra, on_platform=on_platform,
                                              names=(*operator_fields.names(wish), *files))
        problems += [Problem(name, f"{name} names a file of the machine that runs the playbook, and on the platform "
                                   "that is nobody's own: give its text instead.") for name in files
                     if on_platform and name in extra]
        values: dict[str, Any] = {}
        if not problems:
            values, problems = operator_fields.checked(wish, task_vars, files=not on_platform)
        if problems:
            return {"failed": True, "refused": True, "msg": f"Request refused. {request_door.sentences(problems)}",
                    "fields": [problem.field for problem in problems]}
        answer = {"asked": values, "holder": holder(str(extra["awx_job_id"]) if on_platform else ""), "records": []}
        # No request is chosen: what the run's AWS identity may is decided by AWS.
        if wish in ("reap", "refuse"):
            return answer
        person = operator_fields.needs_a_person(wish, values)
        if person:
            request_door.refuse_events(extra)
        user = request_door.platform_user(
            extra, service_principal="" if person else options["service_principal"],
            trust_workflow_user=options["trust_workflow_user"]
        ) if on_platform else ""
        if person and user and user == options["service_principal"]:
            raise registry.Refused("awx_user_name", request_door.PERSONS_ONLY)
        caller = self._caller(user, options["bucket_region"], task_vars)
        source = {"analysts": options["analysts"], "file": options["registry_file"]}
        entries = registry.load(options["registry_source"], source)
        if wish in (operator_fields.CONTAIN, operator_fields.RELEASE):
            analyst = operator_fields.granted(entries, values, caller, operator_fields.CONTAIN)
            return {**answer, "request_spec": containment.build(wish, values, analyst, caller, bucket=options["bucket"],
                                                                now=datetime.now(timezone.utc))}
        if wish == operator_fields.ACQUIRE:
            members = options["member_accounts"]
            analyst = operator_fields.acquirer(entries, values, caller, members)
            if values["contain"]:
                operator_fields.granted(entries, values, caller, operator_fields.CONTAIN)
            return {**answer, "request_spec": labels.build(values, analyst, caller, bucket=options["bucket"],
                                                           now=datetime.now(timezone.utc), members=members)}
        if wish == sharing.SHARE:
            sharer = sharing.sharer(entries, values, caller)
            return {**answer, "request_spec": sharing.build(values, sharer, caller, now=datetime.now(timezone.utc))}
        uid = values["analyst_uid"]
        asks = {"kind": caller.kind, "name": caller.name, "arn": caller.arn}
        if wish in operator_fields.RIGHTS:
            operator = registry.entitled(entries, uid, caller, operator_fields.RIGHTS[wish])
            return {**answer, "operator": operator, "caller": asks}
        registry.who(entries, uid, caller)
        if wish in operator_fields.CASES:
            operator_fields.allow_case(entries, uid, caller, values["incident"])
            return {**answer, "caller": asks}
        records = self._records(options, values, task_vars)
        seen, refusals = operator_fields.allowed(entries, uid, caller, records)
        if not seen:
            # One sentence for "none" and for "not yours": which requests there are is nobody else's business.
            of = f"id {values['request_id']}" if values.get("request_id") else f"the incident {values['incident']}"
            raise registry.Refused("request_id" if values.get("request_id") else "incident",
                                   f"There is no request of {of} that '{uid}' has a right to.")
        return {**answer, "records": seen, "hidden": len(refusals), "caller": asks}

    def _records(self, options: dict[str, Any], values: dict[str, Any], task_vars: dict[str, Any]) -> list[Any]:
        arguments = {name: value for name, value in self._task.args.items() if name not in self.known}
        arguments |= {"bucket": options["bucket"], "region": options["bucket_region"], "state": "all"}
        if values.get("request_id"):
            arguments["request_ids"] = [values["request_id"]]
        else:
            arguments |= {"incident": values["incident"], "within_days": EVERY_DAY}
        answer = self.run_module("dfir.aws.request_records_info", arguments, task_vars)
        if answer.get("failed"):
            raise AnsibleActionFail(str(answer.get("msg") or "The records could not be read."))
        if values.get("request_id") and answer["unreadable"]:
            raise AnsibleActionFail(f"s3://{options['bucket']}/{answer['unreadable'][0]} is not a record of this "
                                    "project: look at it, and restore an earlier version of the object.")
        return list(answer["records"])
