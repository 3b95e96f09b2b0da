# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions over the block engine's long modules: they run apart, and tell how far they are."""

from __future__ import annotations

from typing import Any

from .progress import ProgressAction

DEFAULT_TIMEOUT = 604800


class EngineAction(ProgressAction):
    """Runs the module of the same name. `SUBJECT`: the option that the lines of progress begin with."""

    _requires_connection = True
    MODULE = ""
    SUBJECT = ""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start it, watch it, and return what it returns."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            timeout = int(arguments.get("timeout") or DEFAULT_TIMEOUT)
        except ValueError:
            return {"failed": True, "msg": f"timeout is {arguments['timeout']!r}: a number of seconds is wanted."}
        progress = self.progress(str(arguments.get(self.SUBJECT) or self.MODULE.rpartition(".")[2]))
        return self.run_async(self.MODULE, arguments, task_vars or {}, progress, timeout=timeout)
