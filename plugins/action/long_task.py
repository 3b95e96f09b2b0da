# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any module, in the background, with a line of progress every few seconds."""

from __future__ import annotations

from typing import Any

from ansible_collections.dfir.aws.plugins.plugin_utils.progress import ProgressAction

ARGUMENTS = {
    "module": {"type": "str", "required": True},
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
        _unused, options = self.validate_argument_spec(ARGUMENTS)
        return self.run_foreign(options["module"], options["arguments"], task_vars or {},
                                self.progress(options["subject"]), text=options["text"], timeout=options["timeout"])
