# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy conditions: the operators of IAM, on the keys that the lab can really know.

A key that the lab does not know is refused loudly, never guessed: a condition that always passes (or never) would make
every test of a policy worthless.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

Context = Mapping[str, list[str]]  # lower-case condition key -> values; an absent key has no value

# Keys that may legitimately be absent from a request: the lab fills them where they apply. `*` ends a prefix.
KNOWN_KEYS = (
    "aws:currenttime", "aws:ec2instancesourceprivateipv4", "aws:epochtime", "aws:multifactorauthage",
    "aws:multifactorauthpresent", "aws:principalaccount", "aws:principalarn", "aws:principaltag/*",
    "aws:principaltype", "aws:referer", "aws:requestedregion", "aws:requesttag/*", "aws:resourceaccount",
    "aws:resourcetag/*", "aws:securetransport", "aws:sourceaccount", "aws:sourcearn", "aws:sourceidentity",
    "aws:sourceip", "aws:sourcevpc", "aws:sourcevpce", "aws:tagkeys", "aws:tokenissuetime", "aws:useragent",
    "aws:userid", "aws:username", "aws:viaawsservice",
    "ec2:add/group", "ec2:add/userid", "ec2:createaction", "ec2:encrypted", "ec2:imageid", "ec2:instanceprofile",
    "ec2:instancetype", "ec2:metadatahttpendpoint", "ec2:metadatahttpputresponsehoplimit", "ec2:metadatahttptokens",
    "ec2:owner", "ec2:parentsnapshot", "ec2:region", "ec2:remove/group", "ec2:remove/userid", "ec2:resourcetag/*",
    "ec2:sourceinstancearn", "ec2:volumesize", "ec2:volumetype", "ec2:volumeid", "ec2:snapshotid", "ec2:vpc",
    "ec2:subnet",
    "iam:passedtoservice", "iam:permissionsboundary", "iam:policyarn", "iam:resourcetag/*",
    "kms:calleraccount", "kms:grantisforawsresource", "kms:viaservice", "kms:resourcealiases",
    "s3:authtype", "s3:delimiter", "s3:if-match", "s3:if-none-match", "s3:max-keys", "s3:objectcreationoperation",
    "s3:prefix", "s3:signatureversion", "s3:versionid", "s3:x-amz-*", "s3:requestobjecttag/*",
    "s3:requestobjecttagkeys", "s3:existingobjecttag/*", "s3:resourceaccount", "s3:tlsversion",
    "secretsmanager:versionstage", "ssm:overwrite", "ssm:resourcetag/*", "sts:externalid", "sts:rolesessionname",
    "sts:sourceidentity",
)


class CannotEvaluate(Exception):
    """A policy says something that the lab cannot decide honestly."""


def known_key(key: str) -> bool:
    """Whether the lab fills this condition key."""
    key = key.lower()
    return any(key == known or (known.endswith("*") and key.startswith(known[:-1])) for known in KNOWN_KEYS)


def matches(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """IAM's wildcards: `*` any run of characters, `?` exactly one. Brackets have no meaning, unlike in a shell."""
    if ignore_case:
        pattern, value = pattern.lower(), value.lower()
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def arn_matches(pattern: str, value: str) -> bool:
    """ARNs match part by part, so that a `*` in the region does not swallow the account."""
    wanted, given = pattern.split(":", 5), value.split(":", 5)
    if pattern == "*":
        return True
    return len(wanted) == len(given) == 6 and all(matches(w, g) for w, g in zip(wanted, given, strict=True))


def _number(test: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, given: test(float(given), float(wanted))


def _moment(text: str) -> datetime:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), timezone.utc)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _date(test: Callable[[datetime, datetime], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, given: test(_moment(given), _moment(wanted))


def _in_network(wanted: str, given: str) -> bool:
    return ipaddress.ip_address(given) in ipaddress.ip_network(wanted, strict=False)


POSITIVE: dict[str, Callable[[str, str], bool]] = {
    "stringequals": lambda w, g: w == g,
    "stringequalsignorecase": lambda w, g: w.lower() == g.lower(),
    "stringlike": lambda w, g: matches(w, g),
    "arnequals": arn_matches,
    "arnlike": arn_matches,
    "bool": lambda w, g: w.lower() == g.lower(),
    "ipaddress": _in_network,
    "numericequals": _number(lambda g, w: g == w),
    "numericlessthan": _number(lambda g, w: g < w),
    "numericlessthanequals": _number(lambda g, w: g <= w),
    "numericgreaterthan": _number(lambda g, w: g > w),
    "numericgreaterthanequals": _number(lambda g, w: g >= w),
    "dateequals": _date(lambda g, w: g == w),
    "datelessthan": _date(lambda g, w: g < w),
    "datelessthanequals": _date(lambda g, w: g <= w),
    "dategreaterthan": _date(lambda g, w: g > w),
    "dategreaterthanequals": _date(lambda g, w: g >= w),
}
NEGATIVE = {
    "stringnotequals": "stringequals", "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike", "arnnotequals": "arnequals", "arnnotlike": "arnlike",
    "notipaddress": "ipaddress", "numericnotequals": "numericequals", "datenotequals": "dateequals",
}


def as_list(value: Any) -> list[Any]:
    """Policies write one value where they mean a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def substitute(text: str, context: Context) -> str:
    """Put policy variables such as `${aws:username}` in; one that the lab does not know cannot be decided."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name in ("*", "?", "$"):
            return name
        key, _, default = name.partition(",")
        values = context.get(key.strip().lower())
        if values:
            return values[0]
        if default:
            return default.strip().strip("'")
        if not known_key(key):
            raise CannotEvaluate(f"the policy variable ${{{name}}} is unknown to the lab")
        return "\0absent"  # matches nothing, as on AWS

    return re.sub(r"\$\{([^}]+)\}", value, text)


def _one(operator: str, key: str, wanted: list[str], context: Context) -> bool:
    quantifier, _, plain = operator.rpartition(":")
    if_exists = plain.endswith("ifexists")
    plain = plain.removesuffix("ifexists")
    given = context.get(key.lower())
    if plain == "null":
        return any((given is None) == (w.lower() == "true") for w in wanted)
    negated = plain in NEGATIVE
    test = POSITIVE.get(NEGATIVE.get(plain, plain))
    if test is None or quantifier not in ("", "forallvalues", "foranyvalue"):
        raise CannotEvaluate(f"the condition operator {operator} is unknown to the lab")
    if given is None:
        # A negated operator holds on an absent key; ForAllValues holds on an empty set.
        return if_exists or quantifier == "forallvalues" or (negated and quantifier == "")

    def holds(value: str) -> bool:
        try:
            hit = any(test(w, value) for w in wanted)
        except ValueError:
            hit = False
        return hit != negated

    if quantifier == "foranyvalue":
        return any(holds(value) for value in given)
    return all(holds(value) for value in given)


def conditions_hold(block: Mapping[str, Any], context: Context) -> bool:
    """Whether every operator and every key of a Condition block holds."""
    result = True
    for operator, keys in block.items():
        for key, raw in keys.items():
            if not known_key(key):
                raise CannotEvaluate(f"the condition key {key} is unknown to the lab")
            wanted = [substitute(_text(value), context) for value in as_list(raw)]
            # No early end: a key that cannot be evaluated is reported even behind one that fails.
            result = _one(operator.lower(), key, wanted, context) and result
    return result
