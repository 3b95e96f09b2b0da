# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules that speak with AWS are: modules of amazon.aws that are not put off by a busy account, and that may
act as a role of another account.

botocore asks three times by itself. Where many others of the account ask, too, as in an incident, that is soon over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.botocore import get_aws_connection_info
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from .assumed_role import CannotEnter, Entrance

try:
    from botocore.config import Config
except ImportError:  # AnsibleAWSModule says so in a sentence
    Config = None  # type: ignore[assignment,misc]

# Standard mode waits a random part of 1, 2, 4, 8, 16 and 20 s in between (botocore's guide to retries): half a minute
# at the mean, for throttled calls and for those that failed in AWS.
ATTEMPTS = 7


class AwsModule(AnsibleAWSModule):
    """A module whose clients try again seven times; the option `aws_config` overrides that. With the option
    `assume_role` its clients work as that role."""

    def client(self, service: str, retry_decorator: Any = None, **more: Any) -> Any:
        """As AnsibleAWSModule's; fails when the role of `assume_role` cannot be assumed."""
        if self.params.get("assume_role"):
            try:
                return self.as_role(self.params["assume_role"], service, **more)
            except CannotEnter as refusal:
                self.fail_json(msg=str(refusal))
        return super().client(service, retry_decorator, config=_patient(more.pop("config", None)), **more)

    def as_role(self, access: Mapping[str, Any], service: str, *, region: str | None = None, config: Any = None) -> Any:
        """A client that works as a role, whose session is shared and renewed; `CannotEnter` when it is refused."""
        entrances: dict[str, Entrance] = self.__dict__.setdefault("_dfir_entrances", {})
        arn = str(access["role_arn"])
        home, endpoint, given = get_aws_connection_info(self)
        if arn not in entrances:
            entrances[arn] = Entrance(access, lambda: super(AwsModule, self).client("sts", config=_patient(None)))
        wanted = _patient(given.get("config")).merge(_patient(config))
        return entrances[arn].client(service, region=region or home, endpoint=endpoint, verify=given.get("verify"),
                                     config=wanted)


def _patient(config: Any) -> Any:
    patient = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
    given = config or {}
    return patient.merge(given if isinstance(given, Config) else Config(**given))
