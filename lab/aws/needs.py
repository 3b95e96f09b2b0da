# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls of IAM, STS, KMS, SSM, Secrets Manager, SNS and EBS direct need to be allowed."""

from __future__ import annotations

from typing import Any

from . import kms_keys, moto_app, needs_ec2, needs_s3, principals, sts_roles, trails
from .calls import Call
from .policy import Need


def _find(items: Any, name: str | None) -> Any:
    return next((item for item in items if item.name == name), None)


def _tags(params: dict[str, Any]) -> dict[str, list[str]]:
    tags = {t["Key"]: t.get("Value", "") for t in params.get("Tags") or [] if isinstance(t, dict) and "Key" in t}
    tags |= {t["TagKey"]: t.get("TagValue", "") for t in params.get("Tags") or []  # as KMS spells them
             if isinstance(t, dict) and "TagKey" in t}
    tags |= {t["Key"]: t.get("Value", "") for t in params.get("TagsList") or []}
    keys = [*tags, *(params.get("TagKeys") or [])]
    out = {f"aws:requesttag/{key.lower()}": [value] for key, value in tags.items()}
    return {**out, "aws:tagkeys": keys} if keys else out


# Tags in the creating call need the right to tag as well.
TAGGED = {"CreateRole": "TagRole", "CreateUser": "TagUser", "CreatePolicy": "TagPolicy",
          "CreateInstanceProfile": "TagInstanceProfile"}


def _iam(call: Call) -> list[Need]:
    """An IAM call's own needs, and what its tags need."""
    out = _iam_own(call)
    if call.operation in TAGGED and call.params.get("Tags"):
        out.append(Need(f"iam:{TAGGED[call.operation]}", out[0].resource, _tags(call.params)))
    return out


def _iam_own(call: Call) -> list[Need]:
    params, iam, action = call.params, moto_app.iam(), f"iam:{call.operation}"
    prefix, ctx = f"arn:aws:iam::{moto_app.CALL.account}:", _tags(call.params)
    if "PermissionsBoundary" in params:
        ctx["iam:permissionsboundary"] = [params["PermissionsBoundary"]]
    if "PolicyArn" in params and call.operation.startswith(("Attach", "Detach")):
        ctx["iam:policyarn"] = [params["PolicyArn"]]
    path = params.get("Path") or "/"
    if params.get("InstanceProfileName"):
        found = _find(iam.get_instance_profiles(), params["InstanceProfileName"])
        resource = found.arn if found else f"{prefix}instance-profile{path}{params['InstanceProfileName']}"
        out = [Need(action, resource, ctx)]
        if call.operation == "AddRoleToInstanceProfile":
            role = _find(iam.get_roles(), params.get("RoleName"))
            if role is not None:
                out.append(Need("iam:PassRole", role.arn, {"iam:passedtoservice": ["ec2.amazonaws.com"]}))
        return out
    for name, kind, items in (("RoleName", "role", iam.get_roles()), ("UserName", "user", iam.users.values()),
                              ("GroupName", "group", iam.groups.values())):
        if params.get(name):
            found = _find(items, params[name])
            if found is not None:
                boundary = principals.boundary_arn(found)
                if boundary:
                    ctx.setdefault("iam:permissionsboundary", [boundary])
                if kind == "role":
                    for tag in found.tags:
                        for space in ("aws", "iam"):
                            ctx[f"{space}:resourcetag/{tag['Key'].lower()}"] = [tag["Value"]]
            resource = found.arn if found is not None else f"{prefix}{kind}{path}{params[name]}"
            return [Need(action, resource, ctx)]
    if params.get("PolicyArn"):
        return [Need(action, params["PolicyArn"], ctx)]
    if call.operation == "CreatePolicy":
        return [Need(action, f"{prefix}policy{path}{params.get('PolicyName')}", ctx)]
    return [Need(action, "*", ctx)]


key_arn = kms_keys.arn


def _kms(call: Call) -> list[Need]:
    key = call.params.get("KeyId") or call.params.get("TargetKeyId")
    here = f"arn:aws:kms:{call.region}:{moto_app.CALL.account}:"
    resource = key_arn(call.region, key)
    if resource is None and call.operation == "Decrypt":
        resource = f"{here}key/*"
    if resource is None and key and call.operation == "DescribeKey":  # who may ask learns that there is none
        resource = here + (key if key.startswith("alias/") else f"key/{key}")
    context = {**_tags(call.params), **kms_keys.aliases(call.region, resource),
               **kms_keys.tags(call.region, resource)}
    out = [Need(f"kms:{call.operation}", resource or "*", context)]
    if call.operation == "CreateKey" and call.params.get("Tags"):
        out.append(Need("kms:TagResource", f"{here}key/*", context))
    if call.operation in ("CreateAlias", "UpdateAlias", "DeleteAlias") and call.params.get("AliasName"):
        out.append(Need(f"kms:{call.operation}", here + call.params["AliasName"], context))  # the alias and its key
    return out


def _cloudtrail(call: Call) -> list[Need]:
    """A call about a trail; the tags of a new one need their own right."""
    listed = call.params.get("ResourceIdList") or []
    name = call.params.get("Name") or call.params.get("TrailName") or call.params.get("ResourceId") or (
        listed[0] if listed else None)
    resource = trails.arn(call.region, name) if name else "*"
    out = [Need(f"cloudtrail:{call.operation}", resource, _tags(call.params))]
    if call.operation == "CreateTrail" and call.params.get("TagsList"):
        out.append(Need("cloudtrail:AddTags", resource, _tags(call.params)))
    return out


def _ssm(call: Call) -> list[Need]:
    names = [call.params["Name"]] if call.params.get("Name") else list(call.params.get("Names") or [])
    names += [call.params["Path"]] if call.params.get("Path") else []
    out = []
    for raw in names:
        name = str(raw).split(":")[0] if not str(raw).startswith("arn:") else str(raw).split(":parameter", 1)[1]
        # Public parameters belong to AWS: no account in their ARN.
        owner = "" if name.startswith("/aws/service/") else moto_app.CALL.account
        out.append(Need(f"ssm:{call.operation}", f"arn:aws:ssm:{call.region}:{owner}:parameter/{name.lstrip('/')}",
                        _tags(call.params)))
    return out or [Need(f"ssm:{call.operation}", "*", _tags(call.params))]


def _secret(call: Call) -> list[Need]:
    name = call.params.get("SecretId") or call.params.get("Name")
    if not name or call.operation == "ListSecrets":
        return [Need(f"secretsmanager:{call.operation}", "*", _tags(call.params))]
    model = moto_app.secrets(call.region)
    try:
        resource = model.secrets[name].arn if name in model.secrets else None
    except Exception:
        resource = None
    if resource is None:
        resource = name if str(name).startswith("arn:") else \
            f"arn:aws:secretsmanager:{call.region}:{moto_app.CALL.account}:secret:{name}-??????"
    return [Need(f"secretsmanager:{call.operation}", resource, _tags(call.params))]


def _balancer(call: Call) -> str:
    name = call.params.get("LoadBalancerName")
    if not name or call.operation.startswith("Describe"):
        return "*"
    return f"arn:aws:elasticloadbalancing:{call.region}:{moto_app.CALL.account}:loadbalancer/{name}"


def _scaling_group(call: Call) -> str:
    name = call.params.get("AutoScalingGroupName")
    if not name or call.operation.startswith("Describe"):
        return "*"
    return f"arn:aws:autoscaling:{call.region}:{moto_app.CALL.account}:autoScalingGroup:*:autoScalingGroupName/{name}"


def needs(call: Call, base: dict[str, list[str]]) -> list[Need]:
    """All that must be allowed for a call."""
    if call.service == "s3":
        return needs_s3.needs(call, base)
    if call.service == "ec2":
        return needs_ec2.needs(call, base)
    if call.service == "iam":
        out = _iam(call)
    elif call.service == "kms":
        out = _kms(call)
    elif call.service == "cloudtrail":
        out = _cloudtrail(call)
    elif call.service == "ssm":
        out = _ssm(call)
    elif call.service == "secretsmanager":
        out = _secret(call)
    elif call.service in ("elb", "elbv2"):
        out = [Need(f"elasticloadbalancing:{call.operation}", call.params.get("TargetGroupArn") or _balancer(call),
                    _tags(call.params))]
    elif call.service == "autoscaling":
        out = [Need(f"autoscaling:{call.operation}", _scaling_group(call), _tags(call.params))]
    elif call.service == "sts":
        out = sts_roles.needs(call)
    else:
        out = [Need(f"{call.service}:{call.operation}", call.params.get("TopicArn") or "*", _tags(call.params))]
    return [Need(need.action, need.resource, {**base, **need.context}) for need in out]
