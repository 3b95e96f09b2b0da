# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies of docs/iam as one account needs them: placeholders replaced, lengths held against AWS's limits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .steps import SetupError

ACCOUNT, BUCKET, REGION, EXCEPTIONS = "ACCOUNT_ID", "ARTIFACT_BUCKET", "ANALYSIS_REGION", "EXCEPTIONS"
# Of IAM and Organizations, in characters without white space.
INLINE_MOST, MANAGED_MOST, SCP_MOST = 10_240, 6_144, 5_120
PRINCIPAL = re.compile(r"arn:[a-z-]+:(iam|sts)::(\d{12}|\*):[a-z-]+/?.*|\*")


@dataclass(frozen=True)
class Documents:
    """Policy files, and what is put into them.

    :ivar folder: where files lie that are named without a folder (docs/iam).
    :ivar regions: the analysis regions; several make lists of what names one.
    """

    folder: Path
    partition: str
    account: str
    bucket: str
    regions: Sequence[str]

    def read(self, name: str) -> dict[str, Any]:
        """A policy with its placeholders replaced.

        :param name: a file of the folder, or a path to one of one's own.
        """
        path = Path(name) if "/" in name else self.folder / name
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SetupError(f"The policy {path} cannot be read ({error.strerror}).") from None
        except ValueError as error:
            raise SetupError(f"The policy {path} is no JSON ({error}).") from None
        replaced: dict[str, Any] = self._replaced(loaded)
        return replaced

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._replaced(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [text for item in value for text in self._texts(item)]
        texts = self._texts(value)
        return texts[0] if len(texts) == 1 else texts

    def _texts(self, value: Any) -> list[Any]:
        if not isinstance(value, str):
            return [self._replaced(value)] if isinstance(value, (Mapping, list)) else [value]
        text = value.replace("arn:aws:", f"arn:{self.partition}:").replace(ACCOUNT, self.account)
        text = text.replace(BUCKET, self.bucket)
        return [text.replace(REGION, region) for region in self.regions] if REGION in text else [text]


def short(document: Mapping[str, Any]) -> str:
    """A document without white space, as AWS counts it."""
    return json.dumps(document, separators=(",", ":"))


def service_control_policy(documents: Documents, name: str, exceptions: Sequence[str]) -> dict[str, Any]:
    """The policy that denies EBS direct to all but those who image, with the exceptions of this organization.

    :param exceptions: ARNs of roles, with `*` and `?`: backup roles, scanners.
    """
    for arn in exceptions:
        if arn == "*" or not PRINCIPAL.fullmatch(arn) or ":root" in arn:
            raise SetupError(f"'{arn}' is no exception for the policy of the organization: give the ARN of a role, "
                             "such as arn:aws:iam::*:role/backup.")
    document = documents.read(name)
    for statement in document["Statement"]:
        for keys in statement.get("Condition", {}).values():
            for key, values in keys.items():
                if EXCEPTIONS in values:
                    keys[key] = [*(value for value in values if value != EXCEPTIONS), *exceptions]
    if len(short(document)) > SCP_MOST:
        raise SetupError(f"The policy of the organization has {len(short(document))} characters, and may have "
                         f"{SCP_MOST}: give fewer exceptions, with wildcards.")
    return document


def trust(principals: Sequence[str], conditions: Mapping[str, Any], service: str) -> dict[str, Any]:
    """Who may assume a role: these identities under these conditions, or a service of AWS."""
    if service:
        return {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]}
    for arn in principals:
        if arn == "*" or not PRINCIPAL.fullmatch(arn) or "*" in arn:
            raise SetupError(f"'{arn}' may not assume a role: give whole ARNs of users, roles, or an account's root.")
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": sorted(principals)},
                                 "Action": "sts:AssumeRole"}
    if conditions:
        statement["Condition"] = dict(conditions)
    return {"Version": "2012-10-17", "Statement": [statement]}
