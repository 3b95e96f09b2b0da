# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of the block engine from a module's options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .ebs.client import EbsClient
from .ebs.endpoints import address
from .ebs.errors import BadInput, EngineError
from .ebs.rate import RateBudget
from .ebs.s3 import s3_config
from .ebs.sigv4 import Credentials, CredentialSource, session_credentials
from .ebs_work import Work

AWS_SPEC: dict[str, dict[str, Any]] = {
    "ebs_endpoint_url": {"type": "str"},
    "fips": {"type": "bool", "default": False},
    "rate": {"type": "float", "default": 980},
}


def connection(module: Any) -> tuple[str, str | None, dict[str, Any]]:
    """Region, endpoint and boto3's parameters, as amazon.aws reads them from a module's options."""
    from ansible_collections.amazon.aws.plugins.module_utils.botocore import get_aws_connection_info

    region, endpoint, parameters = get_aws_connection_info(module)
    if not region:
        module.fail_json(msg="Name the region of the snapshot.")
    if parameters.get("verify") is False:
        module.fail_json(msg="EBS direct is always verified: name your certificates in aws_ca_bundle instead.")
    return region, endpoint, parameters


def engine_client(module: Any, work: Work) -> EbsClient:
    """The engine's client with the module's region, credentials and limits."""
    region, endpoint, parameters = connection(module)
    if endpoint:  # the engine asks EC2 and STS, too: all of them at the address that was given for all
        os.environ["AWS_ENDPOINT_URL"] = endpoint
    if module.params["rate"] <= 0:
        module.fail_json(msg="rate must be more than zero.")
    credentials: CredentialSource
    try:
        if parameters.get("aws_access_key_id"):
            given = Credentials(
                parameters["aws_access_key_id"],
                parameters["aws_secret_access_key"],
                parameters.get("aws_session_token") or "",
            )

            def credentials() -> Credentials:
                return given
        else:
            credentials = session_credentials(parameters.get("profile_name"))
        fips = module.params["fips"]
        return EbsClient(
            region,
            credentials,
            endpoint_url=module.params["ebs_endpoint_url"] or endpoint or address("ebs", region, fips=fips),
            fips=fips,
            ca_bundle=module.params.get("aws_ca_bundle"),
            rate=RateBudget(module.params["rate"]),
            stop=work.stop,
        )
    except EngineError as error:
        module.fail_json(msg=str(error))
        raise


def bucket_client(module: Any, region: str | None = None) -> Any:
    """boto3's client for S3 with the module's credentials; `region`: of the bucket."""
    _own, endpoint, _parameters = connection(module)
    more = {"region": region} if region else {}
    return module.client("s3", config=s3_config(endpoint), **more)


def hold_claim(module: Any, work: Work) -> None:
    """Keep the claim from running out that the module was given, if it was."""
    if module.params["claim"] and not module.check_mode:
        work.hold(bucket_client(module, module.params["claim"]["region"]))


def manifest_home(*parts: str) -> Path:
    """Where a manifest goes that has no image beside it: a folder of the user's own. `parts`: what tells its image from
    all others."""
    folder = Path("~/.dfir-ebs").expanduser()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({error.strerror}): name the manifest's place.") from error
    return folder / f"{'.'.join(part.replace('/', '_') for part in parts if part)}.manifest"
