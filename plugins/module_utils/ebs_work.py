# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the long modules over the block engine have in common: failures, progress, and an end when nobody waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from .ebs.console import size
from .ebs.errors import Cancelled, EngineError
from .ebs.progress import Progress
from .guard import Guard
from .image_claim import ClaimError, Renewal, Shelf

WORKER_SPEC: dict[str, dict[str, Any]] = {
    "timeout": {"type": "int", "default": 604800},  # the action's
    "lease_file": {"type": "path"},
    "progress_file": {"type": "path"},
}
CLAIM_SPEC: dict[str, dict[str, Any]] = {
    "claim": {"type": "dict", "options": {
        "bucket": {"type": "str", "required": True},
        "region": {"type": "str"},
        "incident": {"type": "str", "required": True},
        "snapshot_id": {"type": "str", "required": True},
        "holder": {"type": "str", "required": True},
    }},
}
_NAMED = 100  # blocks in a failure's result


class Work:
    """A module's run: its guard, and its progress."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.guard = Guard(module.params.get("lease_file"), module.params.get("progress_file"))
        self.claim: Renewal | None = None

    @property
    def reason(self) -> str:
        """Why to end: nobody waits any more, or somebody else has taken the work over."""
        return self.guard.reason or (self.claim.lost if self.claim else "")

    def stop(self) -> bool:
        """Whether to end."""
        return self.guard.stop() or bool(self.claim and self.claim.lost)

    def hold(self, client: Any) -> None:
        """Keep the claim that the module was given from running out. `client`: boto3's, for S3."""
        given = self.module.params["claim"]
        try:
            self.claim = Renewal(Shelf(client, given["bucket"]), given["incident"], given["snapshot_id"],
                                 given["holder"])
        except ClaimError as error:
            self.module.fail_json(msg=str(error))

    def tell(self, progress: Progress) -> None:
        """Pass the engine's progress on."""
        retries = f", {progress.retries} tried again" if progress.retries else ""
        percent = min(99, int(progress.share * 100))
        self.guard.tell(
            f"{progress.phase} {percent} %, {progress.blocks} blocks, {size(progress.rate)}/s{retries}", percent
        )

    def run(self, work: Callable[[], dict[str, Any]]) -> NoReturn:
        """Do the work and end the module with its result, or with one sentence."""
        try:
            if self.stop():
                raise Cancelled("It was not begun")
            result = work()
            self._let_go()
        except Cancelled as error:
            self._let_go(give_back=True)  # another host may begin at once
            reason = f" ({self.reason})" if self.reason else ""
            self.module.fail_json(msg=f"{error}{reason}. What was done is kept: the same task goes on.", cancelled=True)
        except EngineError as error:
            self.module.fail_json(msg=str(error), failed_blocks=list(error.failed_blocks)[:_NAMED])
        except OSError as error:
            self.module.fail_json(msg=f"{error.filename or 'The disk'}: {error.strerror or error}.")
        self.module.exit_json(**result)
        raise SystemExit  # exit_json does not come back

    def _let_go(self, *, give_back: bool = False) -> None:
        if self.claim:
            with suppress(ClaimError):  # then it runs out
                self.claim.close(give_back=give_back)
