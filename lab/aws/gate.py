# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door of the lab's AWS: each request is identified, its policies are evaluated, and only then moto sees it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from lab import sigv4
from lab.contracts import Refused

from . import (
    calls,
    ec2_groups,
    kms_keys,
    moto_app,
    needs,
    policy,
    principals,
    refusals,
    resources,
    s3_checksums,
    sts_roles,
    trails,
)
from .calls import Call
from .conditions import CannotEvaluate
from .needs_s3 import arn as s3_arn
from .policy import Need
from .principals import Principal
from .world import current

LOG = logging.getLogger("lab.aws")
ALWAYS = {"sts:GetCallerIdentity"}


def identify(call: Call) -> Principal:
    """Who signed this call; anonymous callers are nobody, and policies decide about them too."""
    if call.signature is None:
        if call.service == "s3" and not call.headers.get("x-amz-target"):
            return principals.ANONYMOUS
        raise Refused(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
    caller = principals.find(call.signature.access_key, call.signature.token, call.service)
    sigv4.verify(call.signature, caller.secret, method=call.method, path=call.path, query=call.query,
                 headers=call.headers, payload_hash=call.payload_hash)
    return caller


def surroundings(call: Call, caller: Principal) -> dict[str, list[str]]:
    """The global condition keys of a call."""
    now = datetime.now(timezone.utc)
    keys = {
        **principals.context(caller), "aws:sourceip": [call.source_ip],
        "aws:securetransport": [str(call.secure).lower()], "aws:requestedregion": [call.region],
        "aws:currenttime": [now.isoformat()], "aws:epochtime": [str(int(now.timestamp()))],
        "aws:viaawsservice": ["false"], "aws:resourceaccount": [caller.account],
    }
    for header, key in (("user-agent", "aws:useragent"), ("referer", "aws:referer")):
        if header in call.headers:
            keys[key] = [call.headers[header]]
    return keys


def decision(caller: Principal, need: Need, known: policy.PolicySet | None = None) -> policy.Decision:
    """Whether a caller may. On what is another account's, both accounts decide."""
    if need.action in ALWAYS:
        return policy.Decision(True)
    owner = resources.owner(need.resource, caller.account)
    context = {**need.context, "aws:resourceaccount": [owner]}
    if need.action.startswith("kms:"):
        context["kms:calleraccount"] = [caller.account]
    need, known = Need(need.action, need.resource, context), known or principals.policies(caller)
    try:
        documents, required = resources.policies(need)
        result = policy.decide(need, known, principals=caller.arns, account=caller.account,
                               resource_policies=documents, required=required,
                               foreign=resources.foreign(need.resource, owner, caller.account)
                               and not caller.anonymous)
        current().usage.note(caller, need, known, documents, result.allowed, caller.account)
        if result.allowed and need.action == "sts:AssumeRole" and current().faults.take(
                "iam.not_yet", role=need.resource.rsplit("/", 1)[-1]):
            return policy.Decision(False, "because the role's trust policy does not admit the caller")
        return result
    except CannotEvaluate as error:
        raise Refused(400, "LabNotImplemented",
                      f"A policy that speaks about {need.action} on {need.resource} cannot be evaluated: {error}."
                      ) from None


def denied(service: str, caller: Principal, need: Need, reason: str) -> Refused:
    """The access-denied answer of a service, in AWS' words."""
    if service == "s3":
        if caller.anonymous:
            return Refused(403, "AccessDenied", "Access Denied")
        return Refused(403, "AccessDenied", f"User: {caller.arn} is not authorized to perform: {need.action} on "
                                            f"resource: \"{need.resource}\" {reason}")
    text = f"User: {caller.arn} is not authorized to perform: {need.action}"
    text += f" on resource: {need.resource}" if need.resource != "*" else ""
    if service == "sts":  # STS does not say whether the role, its trust or the external id is the reason
        return Refused(403, "AccessDenied", text)
    if service == "ec2":
        return Refused(403, "UnauthorizedOperation", f"You are not authorized to perform this operation. {text} "
                                                     f"{reason}")
    code = "AccessDenied" if service == "iam" else \
        "AuthorizationError" if service == "sns" else "AccessDeniedException"
    return Refused(403 if service in ("iam", "sns") else 400, code, f"{text} {reason}")


class Gate:
    """A WSGI application around moto's. It raises `Refused`; the front writes that as the asked service would."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        call = calls.read(environ)
        lock = moto_app.OBJECTS if call.service == "s3" else moto_app.MODELS
        caller = identify(call)  # first: nobody learns from other errors what is there
        calls.understand(call, environ)
        with moto_app.acting(caller.account), current().trail.recorded(call, caller) as answer, lock:
            known = principals.policies(caller)
            base = surroundings(call, caller)
            for need in needs.needs(call, base):
                result = decision(caller, need, known)
                if not result.allowed:
                    raise denied(call.service, caller, need, result.reason)
            refusals.check(call)
            sts_roles.check(call, caller)
            if call.service == "cloudtrail":
                trails.check(call, lambda need: resources.policies(need)[0])
            if call.service == "kms":
                kms_keys.check(call, needs.key_arn(call.region, call.params.get("KeyId")), caller.account)
            if call.service == "s3":
                self._preconditions(call)
                s3_checksums.check(call)
            if call.service == "cloudtrail" and call.operation == "LookupEvents":
                start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
                return [json.dumps(current().trail.look_up(call)).encode()]
            moto_app.CALL.kms_refusal = self._kms(call, caller, known, base)
            answer += self._serve(call, caller, known, base, environ, start_response)
            return answer

    def _serve(self, call: Call, caller: Principal, known: policy.PolicySet, base: dict[str, list[str]],
               environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            answer[:] = [status, headers]
            return lambda data: None

        try:
            adapt = s3_checksums.for_moto if call.service == "s3" else None
            served_by = kms_keys.owner(call) if call.service == "kms" else caller.account
            result = self._app(calls.for_moto(call, environ, adapt, account=served_by or caller.account), keep)
            body = b"".join(result)
        except Refused:
            raise
        except NotImplementedError as error:
            raise refusals.unfinished(call, error) from None
        status, headers = answer
        if call.service == "ec2" and status.startswith("2") and not call.operation.startswith("Describe"):
            ec2_groups.refresh(call.region)
        if call.service == "s3":
            self._hide_missing(call, caller, known, base, status)
            if status.startswith("2"):
                headers, body = s3_checksums.answer(call, headers, body)
        if call.service == "cloudtrail":
            body = trails.answer(call, body)
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, headers)
        return [body]

    @staticmethod
    def _preconditions(call: Call) -> None:
        """What moto checks on PutObject only, S3 checks on the end of a multipart upload and on copies as well."""
        if call.operation not in ("CompleteMultipartUpload", "CopyObject"):
            return
        found = moto_app.s3().get_object(call.params["Bucket"], call.params["Key"]) \
            if moto_app.bucket(call.params["Bucket"]) is not None else None
        wanted = call.headers.get("if-match", "").strip('"')
        if (call.headers.get("if-none-match") == "*" and found is not None) or (
                wanted and found is not None and found.etag.strip('"') != wanted):
            raise Refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        if wanted and found is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")

    @staticmethod
    def _hide_missing(call: Call, caller: Principal, known: policy.PolicySet, base: dict[str, list[str]],
                      status: str) -> None:
        """Who may not list a bucket does not learn which keys are missing from it."""
        if status.startswith("404") and call.operation in ("GetObject", "HeadObject"):
            bucket = call.params["Bucket"]
            listing = Need("s3:ListBucket", s3_arn(bucket), base)
            if moto_app.bucket(bucket) is not None and not decision(caller, listing, known).allowed:
                raise denied("s3", caller, listing, "because no identity-based policy allows the s3:ListBucket action")

    @staticmethod
    def _kms(call: Call, caller: Principal, known: policy.PolicySet, base: dict[str, list[str]]) -> str | None:
        """Whether the caller may use the keys of a copy or a volume. EC2 answers late, so this is only noted."""
        ctx = {**base, "kms:grantisforawsresource": ["true"], "aws:viaawsservice": ["true"]}
        return next((f"{need.action} on {need.resource}" for need in kms_keys.behind(call, ctx)
                     if kms_keys.off(need) or not decision(caller, need, known).allowed), None)


class Authorizer:
    """Implements `contracts.Authorizer` for EBS direct, which does not pass the gate."""

    def secret_key(self, access_key: str, token: str | None) -> str:
        """The secret behind an access key; refuses unknown and expired ones."""
        return principals.find(access_key, token, "ebs").secret

    def account(self, access_key: str, token: str | None) -> str:
        """Whose access key it is."""
        return principals.find(access_key, token, "ebs").account

    def check(self, *, method: str, path: str, query: str, headers: Mapping[str, str], action: str, resource: str,
              region: str) -> None:
        """Raise `Refused` unless the signer of these headers may do `action` on `resource`."""
        low = {name.lower(): value for name, value in headers.items()}
        signature = sigv4.read(low, query)
        if signature is None:
            raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        caller = principals.find(signature.access_key, signature.token, "ebs")
        call = Call("ebs", region, method, path, query, low, b"", "", False,
                    signature=signature)
        with moto_app.acting(caller.account):
            self._check(call, caller, action, resource)

    @staticmethod
    def _check(call: Call, caller: Principal, action: str, resource: str) -> None:
        region = call.region
        ctx = {**surroundings(call, caller), **_snapshot_tags(region, resource)}
        for unknown in ("aws:sourceip", "aws:securetransport"):  # not told here, hence absent: such an Allow fails
            del ctx[unknown]
        need = Need(action, resource, ctx)
        if action.startswith("kms:"):
            ctx["kms:viaservice"] = [f"ec2.{region}.amazonaws.com"]
        with moto_app.MODELS:
            result = decision(caller, need)
            found = moto_app.snapshot(region, resource.rsplit("/", 1)[-1])
        if not result.allowed:
            raise denied("ebs", caller, need, result.reason)
        if action.startswith("ebs:") and found is not None:
            # Another account's snapshot is there for whom it is shared with, to be read and continued.
            own = found.owner_id == caller.account
            if not (own if action in ("ebs:PutSnapshotBlock", "ebs:CompleteSnapshot") else
                    found.visible_to(caller.account)):
                raise Refused(404, "ResourceNotFoundException", f"The snapshot '{found.id}' does not exist.")


def _snapshot_tags(region: str, resource: str) -> dict[str, list[str]]:
    name = resource.rsplit("/", 1)[-1]
    tags = moto_app.ec2(region).tags.get(name, {}) if name.startswith("snap-") else {}
    return {f"aws:resourcetag/{key.lower()}": [value] for key, value in tags.items()}
