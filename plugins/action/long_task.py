# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any module, in the background, with a line of progress every few seconds."""

from __future__ import annotations

from typing import Any

from ansible_collections.dfir.aws.plugins.plugin_utils.progress import ProgressAction

ARGUMENTS = {
    "module": {"type": "str"},
    "job": {"type": "str"},
    "arguments": {"type": "dict", "default": {}},
    "subject": {"type": "str", "required": True},
    "text": {"type": "str", "default": "working"},
    "timeout": {"type": "int", "default": 1800},
}


class ActionModule(ProgressAction):
    """See the module's documentation."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start it, watch it, and return what it returns."""
        super().run(tmp, task_vars)
        _unused, options = self.validate_argument_spec(ARGUMENTS, mutually_exclusive=[("module", "job")],
                                                       required_one_of=[("module", "job")])
        progress, how = self.progress(options["subject"]), {key: options[key] for key in ("text", "timeout")}
        if options["job"]:
            return self.run_begun(options["job"], task_vars or {}, progress, **how)
        return self.run_foreign(options["module"], options["arguments"], task_vars or {}, progress, **how)
