# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules that speak with AWS are: modules of amazon.aws that are not put off by a busy account.

botocore asks three times by itself. Where many others of the account ask, too, as in an incident, that is soon over.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

try:
    from botocore.config import Config
except ImportError:  # AnsibleAWSModule says so in a sentence
    Config = None  # type: ignore[assignment,misc]

# Standard mode waits a random part of 1, 2, 4, 8, 16 and 20 s in between (botocore's guide to retries): half a minute
# at the mean, for throttled calls and for those that failed in AWS.
ATTEMPTS = 7


class AwsModule(AnsibleAWSModule):
    """A module whose clients try again seven times; the option `aws_config` overrides that."""

    def client(self, service: str, retry_decorator: Any = None, **more: Any) -> Any:
        """As AnsibleAWSModule's."""
        patient = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
        given = more.pop("config", None) or {}
        wanted = patient.merge(given if isinstance(given, Config) else Config(**given))
        return super().client(service, retry_decorator, config=wanted, **more)
