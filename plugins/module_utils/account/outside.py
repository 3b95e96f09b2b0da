# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies outside AWS's API: the mail server, the toolbox image, and settings that a request would fail for."""

from __future__ import annotations

import ipaddress
import json
import re
import smtplib
import ssl
import urllib.error
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils import urls

from .. import ssh_key
from .findings import MANUAL, MISSING, OK, UNKNOWN, Asks, ClientError, Finding, code_of

MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
PATIENCE = 10  # seconds
UNREACHED = (OSError, ValueError, urls.ConnectionError)


def settings(asks: Asks) -> Iterator[Finding]:
    """What has to stand in the inventory."""
    given = asks.settings
    for name, value in (
        ("dfir_aws_artifact_bucket", given["bucket"]),
        ("dfir_aws_artifact_bucket_region", given["bucket_region"]),
    ):
        if not value:
            yield Finding("settings", MISSING, f"{name} is not set", f"{MANUAL}#bucket")
    try:
        ssh_key.parse(str(given["controller_public_key"] or ""))
    except ssh_key.KeyRefused as refused:
        yield Finding(
            "settings",
            MISSING,
            f"dfir_aws_controller_public_key, {refused}",
            f"ssh-keygen -t ed25519 -f dfir-controller ({MANUAL}#the-controllers-ssh-key)",
        )
    else:
        yield Finding("settings", OK, "the controller's public key is one (its private half shows on a host)")
    yield _addresses(list(given["controller_cidrs"] or []))


def _addresses(cidrs: list[Any]) -> Finding:
    remedy = f"dfir_aws_controller_cidrs, from where the controller connects ({MANUAL}#network)"
    for cidr in cidrs:
        try:
            network = ipaddress.ip_network(str(cidr), strict=False)
        except ValueError:
            return Finding("settings", MISSING, f"dfir_aws_controller_cidrs holds {cidr!r}, which is no range", remedy)
        if network.prefixlen == 0:
            return Finding("settings", MISSING, f"dfir_aws_controller_cidrs holds {cidr}, the whole internet", remedy)
    if not cidrs:
        return Finding("settings", MISSING, "dfir_aws_controller_cidrs is empty", remedy)
    return Finding("settings", OK, f"the controller connects from {', '.join(map(str, cidrs))}")


def mail(asks: Asks) -> Iterator[Finding]:
    """The mail server, up to the point where a mail would be sent: every recipient is named, then all is taken back."""
    given: Mapping[str, Any] = asks.settings["mail"] or {}
    remedy, host = f"dfir_aws_mail ({MANUAL}#mail)", str(given.get("host") or "")
    if not host:
        yield Finding("mail", MISSING, "no server is set, mails would be printed in the job only", remedy)
        return
    port, secure = int(given.get("port") or 25), str(given.get("secure") or "try")
    where = f"{host}, port {port}"
    try:
        said = _converse(host, port, secure, given)
    except smtplib.SMTPAuthenticationError as error:
        yield Finding("mail", MISSING, f"{where} does not take the user name and password ({error.smtp_code})", remedy)
    except smtplib.SMTPResponseException as error:
        yield Finding("mail", MISSING, f"{where} answers {error.smtp_code} {_text(error.smtp_error)}", remedy)
    except smtplib.SMTPException as error:
        yield Finding("mail", MISSING, f"{where}, {_text(error)}", remedy)
    except (OSError, ValueError) as error:
        yield Finding("mail", MISSING, f"{where} was not reached from here ({_text(error)})", remedy)
    else:
        yield (
            Finding("mail", MISSING, f"{where} refuses {said}", remedy)
            if said
            else Finding("mail", OK, f"{where} would take mail (none was sent)")
        )


def _converse(host: str, port: int, secure: str, given: Mapping[str, Any]) -> str:
    """Whom the server refuses; empty when nobody. Nothing is sent."""
    tls, timeout = ssl.create_default_context(), float(given.get("timeout") or PATIENCE)
    server: smtplib.SMTP
    if secure == "always":
        server = smtplib.SMTP_SSL(host, port, timeout=timeout, context=tls)
    else:
        server = smtplib.SMTP(host, port, timeout=timeout)
    with server:
        server.ehlo_or_helo_if_needed()
        if secure == "starttls" or (secure == "try" and server.has_extn("starttls")):
            server.starttls(context=tls)
            server.ehlo()
        if given.get("username"):
            server.login(str(given["username"]), str(given.get("password") or ""))
        sender = str(given.get("from") or "dfir@localhost")
        for who, (code, _answer) in [
            (f"the sender {sender}", server.mail(sender)),
            *[(str(name), server.rcpt(str(name))) for name in given.get("recipients") or []],
        ]:
            if code >= 300:
                return f"{who} ({code})"
        server.rset()
    return ""


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:160]


def toolbox(asks: Asks) -> Iterator[Finding]:
    """The image of tools, as an archive in the bucket or in a registry that needs no login."""
    name, archive = str(asks.settings["toolbox_image"] or ""), str(asks.settings["toolbox_archive"] or "")
    remedy = f"build and publish it ({MANUAL}#toolbox-image)"
    if not name:
        yield Finding("toolbox image", MISSING, "dfir_aws_toolbox_image is not set", remedy)
        return
    if archive:
        try:
            found = asks.client("s3", asks.bucket_region).head_object(Bucket=asks.bucket, Key=archive)
        except ClientError as error:
            if code_of(error) not in ("404", "NoSuchKey", "NotFound"):
                raise
            yield Finding("toolbox image", MISSING, f"the bucket has no {archive}", remedy)
        else:
            yield Finding("toolbox image", OK, f"{archive}, {found['ContentLength'] / 2**20:.0f} MiB in the bucket")
        return
    reference = re.fullmatch(
        r"(?P<host>[^/]+\.[^/]+|[^/]+:\d+|localhost)/(?P<path>[^@]+?)(?::(?P<tag>[^:/@]+))?"
        r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
        name,
    )
    if reference is None:
        yield Finding(
            "toolbox image", MISSING, f"{name} is no full name of an image", f"registry.example.org/name:tag, {remedy}"
        )
        return
    scheme = "http" if asks.settings["toolbox_registry_insecure"] else "https"
    url = f"{scheme}://{reference['host']}/v2/{reference['path']}/manifests/"
    status = _manifest(url + (reference["digest"] or reference["tag"] or "latest"))
    if status == 200:
        yield Finding("toolbox image", OK, f"{name} (that hosts reach it, too, shows on a host)")
    elif status == 404:
        yield Finding("toolbox image", MISSING, f"the registry has no {name}", remedy)
    elif status in (401, 403):
        yield Finding(
            "toolbox image",
            MISSING,
            f"{name} is not given out without a login, and hosts have none",
            f"another registry, or dfir_aws_toolbox_archive ({MANUAL}#toolbox-image)",
        )
    else:
        why = f"it answers {status}" if status else "it is not reached from here"
        yield Finding("toolbox image", UNKNOWN, f"the registry of {name} cannot be asked, {why}; hosts must reach it")


def _manifest(url: str, token: str = "") -> int:
    """The registry's status for a manifest, with an anonymous token where it wants one.

    0 when it was not reached, or when what answered is no registry (a proxy, a login page).
    """
    headers = {"Accept": MANIFESTS, **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        with urls.open_url(url, headers=headers, timeout=PATIENCE) as answer:
            return int(answer.status) if "json" in answer.headers.get_content_type() else 0
    except urllib.error.HTTPError as error:
        challenge = str(error.headers.get("WWW-Authenticate") or "")
        given = "" if token or error.code != 401 else _anonymous(challenge)
        if given:
            return _manifest(url, given)
        return error.code if challenge or _tells_errors(error.read(1_000_000)) else 0
    except UNREACHED:
        return 0


def _tells_errors(body: bytes) -> bool:
    """Whether this is how a registry words a refusal."""
    try:
        return isinstance(json.loads(body)["errors"], list)
    except (ValueError, KeyError, TypeError):
        return False


def _anonymous(challenge: str) -> str:
    """A token that a registry gives to everybody; empty when it gives none."""
    parts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = parts.pop("realm", "")
    if not challenge.lower().startswith("bearer ") or not realm.startswith(("https://", "http://")):
        return ""
    try:
        with urls.open_url(f"{realm}?{urllib.parse.urlencode(parts)}", timeout=PATIENCE) as answer:
            data = json.loads(answer.read(1_000_000))
        return str(data.get("token") or data.get("access_token") or "")
    except (*UNREACHED, AttributeError):  # whatever answered, it was no token
        return ""
