# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for AWS: calls the module of the same name slice by slice, shows progress, keeps the request's lease alive."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from ansible.utils.display import Display
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import parse_iso
from ansible_collections.dfir.aws.plugins.plugin_utils.progress import ProgressAction, readable_time

SUBJECTS = {
    "snapshot": "snapshot", "instance": "instance", "instance_terminated": "instance", "volume": "volume",
    "volume_deleted": "volume", "console": "instance", "artifacts": "artifacts",
}
GOALS = {
    "snapshot": "completed", "instance": "running", "instance_terminated": "terminated", "volume": "{target}",
    "volume_deleted": "deleted", "console": "showing its SSH host keys on the console",
}
DEFAULT_TIMEOUT = 1800
SECONDS_BETWEEN_RENEWALS = 30.0
SLICE = 60  # more than a slice of the module: it looks for as long as it always does
# How AWS is reached, under all names that amazon.aws knows. The record's own region comes with the record.
CONNECTION = (
    "access_key", "aws_access_key", "aws_access_key_id", "aws_ca_bundle", "aws_config", "aws_endpoint_url",
    "aws_profile", "aws_secret_access_key", "aws_secret_key", "aws_session_token", "endpoint_url", "profile",
    "secret_key", "session_token", "validate_certs",
)
INTERNAL = ("over", "text", "percent", "seen", "invocation")


class ActionModule(ProgressAction):
    """See the module's documentation."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Wait, then say what was found."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        record = arguments.pop("record", None)
        kind = str(arguments.get("kind"))
        timeout = float(arguments.get("timeout") or DEFAULT_TIMEOUT)
        progress = self.progress(SUBJECTS.get(kind, kind))

        def ask(elapsed: float, before: dict[str, Any]) -> dict[str, Any]:
            slice_arguments = {**arguments, "elapsed": elapsed, "seen": bool(before.get("seen"))}
            if _seconds_left(before, arguments.get("grace")) > 0:
                slice_arguments["timeout"] = int(max(timeout, elapsed + SLICE))
            return self.run_module("dfir.aws.aws_wait", slice_arguments, task_vars)

        if self._task.check_mode:
            # Nothing was started, so nothing will come: one look, as it is.
            result = ask(0, {})
        else:
            connection = {name: arguments[name] for name in CONNECTION if name in arguments}
            renew = _Renewal(self, {**connection, **record, "state": "renewed"}, task_vars) if record else None
            result = self.run_in_slices(ask, progress, timeout=timeout, each=renew,
                                        prolong=lambda seen: _seconds_left(seen, arguments.get("grace")))
        result["waited"] = round(progress.elapsed, 1)
        result["ended_at"] = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        if kind == "artifacts" and not result.get("failed"):
            result["outcome"] = _outcome(result)
        elif result.get("timed_out"):
            goal = GOALS[kind].format(target=arguments.get("target", "available"))
            result.update(failed=True, msg=(
                f"{SUBJECTS[kind].capitalize()} {arguments.get('id')} is not {goal} after {readable_time(timeout)} "
                f"(last seen: {result.get('state')}). It goes on without us: run the same request again, "
                "it takes up what exists."))
        return {key: value for key, value in result.items() if key not in INTERNAL}


def _seconds_left(seen: dict[str, Any], grace: Any) -> float:
    """Seconds until a host that was prolonged has ended, and can no longer be heard of."""
    if grace is None or not seen.get("extended_until"):
        return 0
    end = parse_iso(str(seen["extended_until"]))
    return (end - datetime.now(timezone.utc)).total_seconds() + float(grace)


def _outcome(result: dict[str, Any]) -> str:
    if result.get("reached"):
        return "complete"
    return "ended" if result.get("over") else "timeout"


class _Renewal:
    """Renews the lease of the request's record now and then."""

    def __init__(self, action: ProgressAction, record: dict[str, Any], task_vars: dict[str, Any]) -> None:
        self._action, self._record, self._task_vars = action, record, task_vars
        self._last = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last < SECONDS_BETWEEN_RENEWALS:
            return
        self._last = time.monotonic()
        result = self._action.run_module("dfir.aws.request_record", dict(self._record), self._task_vars)
        if result.get("failed"):
            # Losing the lease is found out by the next step that writes the record. Waiting does no harm meanwhile.
            Display().warning(f"The request's lease could not be renewed: {result.get('msg')}")
