#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host can image snapshots, with whose rights."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: imaging_host_info
version_added: 0.1.0
short_description: Hold a host against what the block engine needs
description:
  - Runs on an imaging host, by the Python that is to image. Fails in one sentence where that Python is too old or lacks
    a package, where the host has no instance profile, or where boto3 would take other credentials than the profile's.
author:
  - The dfir.aws authors (@dfir-aws)
options:
  metadata_url:
    description: Where the instance metadata service answers.
    type: str
    default: http://169.254.169.254
extends_documentation_fragment:
  - dfir.aws.aws.read_only
"""

EXAMPLES = r"""
- name: See whether this host can image
  dfir.aws.imaging_host_info:
  vars:
    ansible_python_interpreter: /opt/dfir-imaging/bin/python
"""

RETURN = r"""
role:
  description: The role of the host's instance profile.
  returned: success
  type: str
region:
  description: The region that the host is in.
  returned: success
  type: str
packages:
  description: Versions of the packages that the engine imports.
  returned: success
  type: dict
python:
  description: The interpreter's path and version.
  returned: success
  type: dict
"""

import importlib
import os
import sys
import urllib.error
import urllib.request
from importlib import metadata
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PACKAGES = ("boto3", "botocore", "zstandard", "pyrage")
OLDEST = (3, 10)
FOREIGN = ("AWS_ACCESS_KEY", "AWS_SECRET", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY", "AWS_CONTAINER_")
OWN_METHODS = ("iam-role",)  # botocore's name of the instance metadata service
NO_PROFILE = ("This host has no instance profile: attach one with the policy docs/iam/imaging-host-policy.json. "
              "Imaging hosts work with credentials of their own, and never get the controller's.")


class Unfit(Exception):
    """One sentence that says what the host lacks."""


def packages() -> dict[str, str]:
    """Their versions."""
    if sys.version_info < OLDEST:
        raise Unfit(f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old, 3.10 is the oldest that will do: "
                    "set imaging_host_python to a newer one.")
    found = {}
    for name in PACKAGES:
        try:
            importlib.import_module(name)
            found[name] = metadata.version(name)
        except (ImportError, metadata.PackageNotFoundError) as error:
            raise Unfit(f"{sys.executable} has no usable {name} ({error}): run the role imaging_host again.") from None
    return found


def ask(url: str, method: str = "GET", **headers: str) -> str:
    """One question to the metadata service, past every proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, method=method, headers={  # noqa: S310  the metadata service's own address
        name.replace("_", "-"): value for name, value in headers.items()})
    with opener.open(request, timeout=5) as answer:
        return str(answer.read().decode())


def profile(url: str) -> tuple[str, str]:
    """Role and region, by IMDSv2."""
    try:
        token = ask(f"{url}/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")  # noqa: S106
        region = ask(f"{url}/latest/meta-data/placement/region", X_aws_ec2_metadata_token=token)
        role = ask(f"{url}/latest/meta-data/iam/security-credentials/", X_aws_ec2_metadata_token=token)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise Unfit(NO_PROFILE) from None
        raise Unfit(f"The instance metadata service refuses to answer ({error}): IMDSv2 must be enabled.") from None
    except OSError as error:
        raise Unfit(f"The instance metadata service does not answer ({error}): an imaging host is an EC2 instance with "
                    "IMDSv2 enabled and an instance profile.") from None
    if not role.split():
        raise Unfit(NO_PROFILE)
    return role.split()[0], region


def taken(url: str) -> None:
    """Whether boto3 takes what the profile gives."""
    import botocore.session

    names = sorted(name for name in os.environ if name.startswith(FOREIGN))
    if names:
        raise Unfit(f"{', '.join(names)} is set on this host: imaging hosts work with their instance profile alone.")
    session = botocore.session.get_session()
    if url != "http://169.254.169.254":
        session.set_config_variable("ec2_metadata_service_endpoint", url)
    found = session.get_credentials()
    if found is None:
        raise Unfit("The instance profile gives no credentials: its role may be gone or not trust EC2.")
    if found.method not in OWN_METHODS:
        raise Unfit(f"boto3 would take credentials from '{found.method}' on this host, not those of its instance "
                    "profile: remove them.")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(supports_check_mode=True, argument_spec={
        "metadata_url": {"type": "str", "default": "http://169.254.169.254"},
    })
    url = module.params["metadata_url"].rstrip("/")
    result: dict[str, Any] = {"changed": False}
    try:
        result["packages"] = packages()
        result["role"], result["region"] = profile(url)
        taken(url)
    except Unfit as error:
        module.fail_json(msg=str(error))
    result["python"] = {"executable": sys.executable, "version": ".".join(map(str, sys.version_info[:3]))}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
