# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a request in, or says in one sentence why not.

An action and not a module, because an action sees variables as they arrived: arguments and argument specs are rendered,
and a template in a survey's answer would run. Documented in plugins/modules/analysis_request.py.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.utils.vars import load_extra_vars
from ansible_collections.dfir.aws.plugins.module_utils import (
    registry,
    request_door,
    request_fields,
    request_several,
    request_spec,
)
from ansible_collections.dfir.aws.plugins.plugin_utils.filters_at_hand import import_filters
from ansible_collections.dfir.aws.plugins.plugin_utils.lease import holder
from ansible_collections.dfir.aws.plugins.plugin_utils.near import NearAction

OPTIONS: dict[str, dict[str, Any]] = {
    "registry_source": {"type": "str", "default": "inventory"},
    "analysts": {"type": "list", "elements": "dict", "default": []},
    "registry_file": {"type": "str", "default": ""},
    "artifact_bucket": {"type": "str", "required": True},
    "time_limit_minimum": {"type": "float", "default": 1},
    "time_limit_maximum": {"type": "float", "default": 72},
    "service_principal": {"type": "str", "default": ""},
    "trust_workflow_user": {"type": "bool", "default": False},
    "several": {"type": "bool", "default": False},
}


import_filters()  # for all tasks that follow


class ActionModule(NearAction):
    """See the module's documentation."""

    TRANSFERS_FILES = False
    _supports_async = False
    _supports_check_mode = True
    known = OPTIONS  # what is not for the AWS modules
    subject = "Request"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        result["changed"] = False
        self._said: dict[str, Any] = {}  # what is known of a request that is refused later on
        try:
            result.update(self._admit(task_vars or {}))
        except registry.Refused as refusal:
            result.update(failed=True, msg=f"{self.subject} refused. {refusal.sentence}", refused=True,
                          fields=[refusal.field], **self._said)
        except registry.RegistryError as error:
            result.update(failed=True, msg=str(error), refused=False, fields=[])
        return result

    def _admit(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        extra = load_extra_vars(self._loader)
        on_platform = request_door.on_platform(extra, os.environ)
        problems = request_door.refused_names(extra, on_platform=on_platform)
        options = self._options() if not problems else {}
        if not problems:
            limits = {"time_limit_hours": (options["time_limit_minimum"], options["time_limit_maximum"])}
            snapshots: list[Any] = []
            if options["several"]:
                values, snapshots, problems = request_several.check(task_vars, limits=limits)
            else:
                values, problems = request_fields.check(task_vars, limits=limits)
        if problems:
            return {
                "failed": True,
                "refused": True,
                "msg": f"Request refused. {request_door.sentences(problems)}",
                "fields": [problem.field for problem in problems],
            }
        user = request_door.platform_user(
            extra, service_principal=options["service_principal"], trust_workflow_user=options["trust_workflow_user"]
        ) if on_platform else ""
        caller = self._caller(user, values["aws_analysis_region"], task_vars)
        if not options["several"]:
            self._said = {"key": request_spec.identity(caller.account, values["analyst_uid"], values)}
        entries = registry.load(
            options["registry_source"], {"analysts": options["analysts"], "file": options["registry_file"]}
        )
        analyst = registry.decide(entries, values, caller)
        spec = request_spec.build(
            values, analyst, caller, bucket=options["artifact_bucket"], now=datetime.now(timezone.utc)
        )
        if options["several"]:
            spec = request_several.widen(spec, values, snapshots)
        return {"request_spec": spec, "holder": holder(str(extra["awx_job_id"]) if on_platform else "")}

    def _options(self) -> dict[str, Any]:
        given = {name: value for name, value in self._task.args.items() if name in self.known}
        checked = ArgumentSpecValidator(self.known).validate(given)
        if checked.error_messages:
            raise AnsibleActionFail(f"{self._task.action}: " + "; ".join(checked.error_messages))
        return dict(checked.validated_parameters)

    def _caller(self, user: str, region: str, task_vars: dict[str, Any]) -> registry.Caller:
        """The AWS identity that this run works with, asked from AWS, and who stands behind it."""
        arguments = {name: value for name, value in self._task.args.items() if name not in self.known}
        if not any(arguments.get(name) for name in ("region", "aws_region", "ec2_region")):
            arguments["region"] = region
        answer = self.run_module("amazon.aws.aws_caller_info", arguments, task_vars)
        if answer.get("failed"):
            raise AnsibleActionFail(f"The AWS identity of this run is unknown: {answer.get('msg', 'no answer')}")
        arn = str(answer["arn"])
        kind, name = ("awx", user) if user else ("cli", arn.rsplit("/", 1)[-1])
        return registry.Caller(kind, name, arn, str(answer["account"]))
