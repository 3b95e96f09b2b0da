# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a service is to be found: addresses, proxies, trusted certificates."""

from __future__ import annotations

import base64
import os
import ssl
import urllib.request
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from .errors import BadInput

# Partition suffixes by the beginning of a region's name (botocore's endpoints.json, 2025).
_SUFFIXES = (
    ("cn-", "amazonaws.com.cn"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
)


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization, or empty."""

    host: str
    port: int
    authorization: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One address of a service. `netloc` is what the Host header says."""

    tls: bool
    host: str
    port: int
    netloc: str
    proxy: Proxy | None = None

    @property
    def base(self) -> str:
        """Scheme and host, as a proxy wants it in front of the path of a plain request."""
        return f"{'https' if self.tls else 'http'}://{self.netloc}"


def address(service: str, region: str, *, fips: bool = False) -> str:
    """The address that AWS gives a service in a region, unless AWS_ENDPOINT_URL or its kin say otherwise."""
    for name in (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL"):
        if (url := os.environ.get(name)) and os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") != "true":
            return url
    fips = fips or os.environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true"
    suffix = next((end for start, end in _SUFFIXES if region.startswith(start)), "amazonaws.com")
    return f"https://{service}{'-fips' if fips else ''}.{region}.{suffix}"


def endpoint(url: str) -> Endpoint:
    """The parts of an address, and the proxy that the environment wants for it."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    wrong = parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.username
    if wrong or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadInput(f"{url!r} is no address of a service: https://host or https://host:port is what it looks like.")
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    if port not in (None, 443 if tls else 80):
        netloc += f":{port}"
    return Endpoint(tls, host, port or (443 if tls else 80), netloc, _proxy(parts.scheme, host))


def _proxy(scheme: str, host: str) -> Proxy | None:
    url = urllib.request.getproxies().get(scheme)
    if not url or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise BadInput(f"The proxy {url!r} of the environment cannot be used: http://host:port is what it looks like.")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, parts.port or 80, authorization)


def tls_context(ca_bundle: str | None = None) -> ssl.SSLContext:
    """A context that verifies: the bundle that was named (here or by AWS_CA_BUNDLE), or the system's store."""
    bundle = ca_bundle or os.environ.get("AWS_CA_BUNDLE")
    if bundle:
        try:
            return _strict(ssl.create_default_context(cafile=bundle))
        except OSError as error:
            raise BadInput(f"The certificates in {bundle} cannot be used: {error}.") from error
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:  # some Pythons on macOS bring no store
        try:
            from botocore.httpsession import where
        except ImportError:
            raise BadInput("This Python trusts no certificates: name a file with them in AWS_CA_BUNDLE.") from None
        return _strict(ssl.create_default_context(cafile=where()))
    return _strict(ssl.create_default_context())


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
