# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the record of a request lies, for whoever reads and changes it (module request_record)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from .request_spec import FOLDERS

try:  # noqa: SIM105  the form that ansible-test knows
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    pass  # AnsibleAWSModule says so

LOST = ("PreconditionFailed", "ConditionalRequestConflict")


class Shelf:
    """Where records lie: one object per request."""

    def __init__(self, module: Any, bucket: str, key: str) -> None:
        self._module, self._bucket, self._key = module, bucket, key
        self._client = module.client("s3")
        members = self._client.meta.service_model.operation_model("PutObject").input_shape.members
        if "IfMatch" not in members or "IfNoneMatch" not in members:
            module.fail_json(msg="The installed botocore cannot write conditionally, which records need: install boto3 "
                                 "and botocore 1.36 or later.")

    def read(self) -> tuple[dict[str, Any] | None, str]:
        """The record and its ETag; None where there is no record."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key)
            text = answer["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None, ""
            self._fail(error, "read")
        except BotoCoreError as error:
            self._fail(error, "read")
        try:
            return json.loads(text), answer["ETag"]
        except ValueError:
            self._end(f"The record s3://{self._bucket}/{self._key} is not JSON: look at it, and restore an earlier "
                      "version of the object.")

    def is_taken(self, prefix: str) -> bool:
        """Whether artifacts of some request lie in a folder; images, and folders of later attempts, do not count."""
        try:
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
        except (ClientError, BotoCoreError) as error:
            self._fail(error, "opened")
        folders = [item["Prefix"] for item in found.get("CommonPrefixes") or []]
        return bool(found.get("Contents")) or f"{prefix}analyst/" in folders

    def claim(self, prefix: str, request_id: str) -> bool:
        """Take a folder of artifacts for a request, for good; false where another one has taken it."""
        key = f"{FOLDERS}{prefix.rstrip('/')}.json"
        body = json.dumps({"request_id": request_id, "artifact_prefix": prefix}).encode()
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json",
                                    ChecksumAlgorithm="SHA256", IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in LOST:
                self._fail(error, "opened")
        except BotoCoreError as error:
            self._fail(error, "opened")
        else:
            return True
        try:
            return json.loads(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()).get(
                "request_id") == request_id
        except (ClientError, BotoCoreError) as error:
            self._fail(error, "opened")
        except (ValueError, AttributeError):
            return False

    def write(self, record: Mapping[str, Any], etag: str) -> bool:
        """False when somebody else was faster."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        body = json.dumps(record, indent=1, sort_keys=True).encode()
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key, Body=body, ContentType="application/json",
                                    ChecksumAlgorithm="SHA256", **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] in LOST or error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                return False
            self._fail(error, "written")
        except BotoCoreError as error:
            self._fail(error, "written")
        return True

    def _fail(self, error: Exception, done: str) -> NoReturn:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
        why = {
            "NoSuchBucket": f"there is no bucket {self._bucket}: set dfir_aws_artifact_bucket.",
            "AccessDenied": "access denied: the credentials need s3:GetObject and s3:PutObject on requests/* and "
                            "s3:ListBucket on the bucket (docs/iam/controller-policy.json).",
            "PermanentRedirect": "the bucket lies in another region: set dfir_aws_artifact_bucket_region.",
            "AuthorizationHeaderMalformed": "the bucket lies in another region: set dfir_aws_artifact_bucket_region.",
            "ExpiredToken": "the AWS credentials have expired: renew them and start again.",
        }.get(code, f"{error}")
        self._end(f"The record s3://{self._bucket}/{self._key} could not be {done}: {why}", error_code=code)

    def _end(self, sentence: str, **more: Any) -> NoReturn:
        self._module.fail_json(msg=sentence, key=self._key, **more)
        raise SystemExit(1)  # not reached
