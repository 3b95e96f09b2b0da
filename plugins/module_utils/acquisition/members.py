# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of the accounts that an acquisition works in: this run's own, and others by their roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..assumed_role import CannotEnter
from .metadata import Clients


class Accounts:
    """Where a module's calls about an account go.

    :param module: an `AwsModule` with the options `request` and `access`.
    """

    def __init__(self, module: Any) -> None:
        self._module, self._request = module, module.params["request"]
        self._access = {str(item["account"]): item for item in module.params["access"]}
        self._clients: dict[str, Clients] = {}

    def clients(self, account: str) -> Clients:
        """Clients by service and region; making the first one raises `CannotEnter` where the role cannot be assumed."""
        if account not in self._clients:
            self._clients[account] = Clients(lambda service, region: self.client(account, service, region=region),
                                             self._request["region"])
        return self._clients[account]

    def client(self, account: str, service: str, **more: Any) -> Any:
        """One client of an account."""
        if account == self._request["account"]:
            return self._module.client(service, **more)
        if account not in self._access:
            raise CannotEnter(f"There is no way into the account {account}: dfir_aws_member_accounts has no entry "
                              "for it.")
        return self._module.as_role(self._access[account], service, **more)


def targets_of(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is asked of each account."""
    own = {"account": request["account"], "instance_ids": request["instance_ids"],
           "instance_tags": request["instance_tags"]}
    return list(request.get("targets") or [own])


def account_of(entry: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """The account of an instance of the plan."""
    return str(entry.get("account") or request["account"])
