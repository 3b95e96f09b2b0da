# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of several accounts: this run's own identity in its own, an assumed role in each other one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any

from ..assumed_role import CannotEnter

ONCE = {"retries": {"mode": "standard", "total_max_attempts": 1}}


class Accounts:
    """Implements `find.Reach` over a module's `client`.

    :param access: of each account that is not this run's own, what `assumed_role.ACCESS` describes.
    """

    def __init__(self, module: Any, access: Sequence[Mapping[str, str]]) -> None:
        self._module, self._access = module, {str(entry["account"]): entry for entry in access}
        self._lock = RLock()
        self._clients: dict[tuple[str, str, str, bool], Any] = {}
        self._arns: dict[str, str] = {}
        found = module.client("sts").get_caller_identity()
        self.own = str(found["Account"])
        self._arns[self.own] = str(found["Arn"])

    def client(self, service: str, account: str, region: str, *, once: bool = False) -> Any:
        """A client of a service with an account's identity; `once`: it never tries again by itself."""
        with self._lock:
            name = (service, account, region, once)
            if name not in self._clients:
                self._clients[name] = self._made(service, account, region=region, config=ONCE if once else None)
            return self._clients[name]

    def principal(self, account: str) -> str:
        """The ARN of the identity that works in an account."""
        with self._lock:
            if account not in self._arns:
                self._arns[account] = str(self._made("sts", account).get_caller_identity()["Arn"])
            return self._arns[account]

    def _made(self, service: str, account: str, **more: Any) -> Any:
        if account == self.own:
            return self._module.client(service, **more)
        if account not in self._access:
            raise CannotEnter(f"There is no way into the account {account}: it has no entry in "
                              "dfir_aws_member_accounts.")
        return self._module.as_role(self._access[account], service, **more)
