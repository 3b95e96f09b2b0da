# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check of an account says, and how a check asks without ever changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

OK, MISSING, UNKNOWN = "ok", "missing", "not checkable"
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403", "Forbidden")
MANUAL = "docs/real-account.md"
RIGHTS = f"put docs/iam/controller-policy.json ({MANUAL}#identities)"
# A request asks these itself, so a caller who may not lacks a right and not only the view.
FLOW = ("DescribeImages", "DescribeInstanceTypes", "DescribeInstances", "DescribeSubnets", "GetParameter")


@dataclass(frozen=True)
class Finding:
    """One line of the list.

    :ivar topic: what was looked at, in a word or two.
    :ivar state: `OK`, `MISSING` or `UNKNOWN` (cannot be checked from here, or not without changing something).
    :ivar remedy: a command, or where the manual says what to do; for everything that is missing.
    :ivar needed: requests cannot work without it; otherwise it is good to have.
    """

    topic: str
    state: str
    text: str
    remedy: str = ""
    region: str = ""
    needed: bool = True


@dataclass(frozen=True)
class Asks:
    """The settings that are checked, and AWS. `client(service, region)` gives a boto3 client."""

    settings: Mapping[str, Any]
    client: Callable[[str, str], Any]

    @property
    def bucket(self) -> str:
        return str(self.settings["bucket"] or "")

    @property
    def bucket_region(self) -> str:
        return str(self.settings["bucket_region"] or "")


Check = Callable[..., Iterable[Finding]]


def code_of(error: Exception) -> str:
    """AWS's word for an error; the error's own name where AWS was not reached."""
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__


def is_denied(error: Exception) -> bool:
    """Whether the caller may not ask, or may not do."""
    return code_of(error) in DENIED


def carried_out(topic: str, region: str, check: Check, *arguments: Any) -> list[Finding]:
    """The findings of one check. What keeps it from asking is a finding, too, and never ends the other checks."""
    found: list[Finding] = []
    try:
        for finding in check(*arguments):
            found.append(finding)  # one by one: what was found before an error counts
    except (ClientError, BotoCoreError) as error:
        action = str(getattr(error, "operation_name", ""))  # only AWS's own answers have one
        if not action:
            found.append(Finding(topic, UNKNOWN, f"AWS was not reached ({code_of(error)})", "", region))
        elif is_denied(error):
            state = MISSING if action in FLOW else UNKNOWN
            found.append(Finding(topic, state, f"the caller may not ask ({action})", RIGHTS, region))
        else:
            found.append(Finding(topic, UNKNOWN, f"{action} answers {code_of(error)}", "", region))
    return found


def lines(findings: Sequence[Finding]) -> list[str]:
    """The list for people: state, what, and below what is missing what to do."""
    # Ansible shows lines as they are when they hold no colon before a blank and do not begin with one.
    rows = []
    several = len({finding.region for finding in findings if finding.region}) > 1
    for finding in findings:
        state = finding.state if finding.needed or finding.state != MISSING else "advised"
        where = f"{finding.region} " if several and finding.region else ""
        rows.append(f"{state:<14}{finding.topic:<14}{where}{finding.text}")
        if finding.remedy and finding.state != OK:
            rows.append(f"{'-> do':<14}{finding.remedy}")
    return [row.replace(": ", ", ") for row in rows]


def verdict(findings: Iterable[Finding]) -> str:
    """One sentence about what is needed and missing; empty when nothing is."""
    topics = [
        f"{finding.topic} {finding.region}".strip()
        for finding in findings
        if finding.state == MISSING and finding.needed
    ]
    if not topics:
        return ""
    return (
        f"The account lacks what requests need ({', '.join(dict.fromkeys(topics))}): the list above says how to "
        "get it. Nothing was changed."
    )
