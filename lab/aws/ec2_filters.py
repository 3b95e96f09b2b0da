# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters and pages as EC2 knows them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from . import moto_app  # noqa: F401  first: it sets what moto reads while it is imported

# isort: split
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance
from moto.ec2.models.network_acls import NetworkAcl
from moto.ec2.utils import filter_dict_attribute_mapping

from .conditions import matches

Thing = TypeVar("Thing")
_acl_value = NetworkAcl.get_filter_value


def chosen(things: Iterable[Thing], filters: Mapping[str, list[str]],
           value: Callable[[Thing, str], Any]) -> list[Thing]:
    """Things that match every filter. `value` answers None for an unset one, raises KeyError for an unknown filter."""
    out = []
    for thing in things:
        for name, wanted in filters.items():
            try:
                given = value(thing, name)
            except KeyError:
                raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid") from None
            given = [] if given is None else given if isinstance(given, list) else [given]
            if not any(matches(str(w), str(g)) for w in wanted for g in given):
                break
        else:
            out.append(thing)
    return out


def tag_value(tags: Mapping[str, str], name: str) -> Any:
    """The value of a tag filter; KeyError when it is none."""
    if name.startswith("tag:"):
        return tags.get(name[4:])
    if name == "tag-key":
        return list(tags)
    if name == "tag-value":
        return list(tags.values())
    raise KeyError(name)


def page(things: list[Thing], limit: int | None, token: str | None, *,
         least: int = 5) -> tuple[list[Thing], str | None]:
    """One page, and the token of the next."""
    if limit is not None and limit < least:
        raise EC2ClientError("InvalidParameterValue", f"Value ( {limit} ) for parameter maxResults is invalid. "
                                                      f"Expecting a value greater than {least}.")
    start = 0
    if token:
        try:
            start = int(base64.b64decode(token, validate=True))
        except ValueError:
            raise EC2ClientError("InvalidNextToken", "The token is invalid.") from None
    end = start + (limit or 1000)
    return things[start:end], base64.b64encode(str(end).encode()).decode() if end < len(things) else None


def _profile_arn(instance: Any) -> str:
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    return str(association.iam_instance_profile.arn) if association is not None else ""


def _acl(self: Any, filter_name: str, method_name: str | None = None) -> Any:
    return self.id if filter_name == "network-acl-id" else _acl_value(self, filter_name, method_name)


def install() -> None:
    """Filters that moto lacks."""
    Instance.lab_profile_arn = property(_profile_arn)  # type: ignore[attr-defined]
    filter_dict_attribute_mapping["iam-instance-profile.arn"] = "lab_profile_arn"
    NetworkAcl.get_filter_value = _acl  # type: ignore[method-assign]
