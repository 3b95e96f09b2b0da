# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may publish images of tools: the policies of docs/iam, decided by the lab as AWS does."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from lab.config import ACCOUNT
from tests.kit import CHECKOUT
from tests.unit.lab.aws_kit import REGION, Kit, code

BUCKET = f"dfir-artifacts-{ACCOUNT}"
KEY = "toolbox/analyst-tools-0.1.0-20261127.101500-0123456789abcdef.json"


def document(name: str) -> str:
    text = (CHECKOUT / "docs/iam" / name).read_text()
    for placeholder, value in (("ACCOUNT_ID", ACCOUNT), ("ARTIFACT_BUCKET", BUCKET), ("ANALYSIS_REGION", REGION)):
        text = text.replace(placeholder, value)
    return json.dumps(json.loads(text))


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path)
    s3 = kit.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=document("artifact-bucket-policy.json"))
    yield kit
    kit.close()


def call(kit: Kit, keys: tuple[str, str], capsys: pytest.CaptureFixture[str], module: str, **given: Any,
         ) -> dict[str, Any]:
    """Run a module with somebody's keys."""
    loaded = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{module}")
    capsys.readouterr()
    with patch_module_args({"endpoint_url": kit.endpoint, "access_key": keys[0], "secret_key": keys[1],
                            "region": REGION, "bucket": BUCKET, **given}), pytest.raises(SystemExit):
        loaded.main()
    return dict(json.loads(capsys.readouterr().out))


def person(kit: Kit, name: str, policy: str) -> tuple[str, str]:
    keys = kit.user(name)
    kit.client("iam").put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document(policy))
    return keys


def test_p40_who_publishes_tools_writes_them_once_and_reads_no_artifact(kit: Kit,
                                                                        capsys: pytest.CaptureFixture[str]) -> None:
    keys = person(kit, "toolbox", "toolbox-policy.json")
    assert call(kit, keys, capsys, "toolbox_versions_info")["versions"] == []
    put = {"key": KEY, "content": json.dumps({"image": "0.1.0"})}
    assert call(kit, keys, capsys, "artifact_put", _ansible_check_mode=True, **put)["changed"]
    assert call(kit, keys, capsys, "artifact_put", **put)["changed"]
    assert not call(kit, keys, capsys, "artifact_put", **put)["changed"]
    refused = call(kit, keys, capsys, "artifact_put", key=KEY, content="another")
    assert refused["failed"] and "nothing is ever overwritten" in refused["msg"]
    found = call(kit, keys, capsys, "toolbox_versions_info", content="0123456789abcdef")
    assert found["versions"] == [{"image": "0.1.0"}]

    s3, admin = kit.client("s3", keys=keys), kit.client("s3")
    admin.put_object(Bucket=BUCKET, Key="INC-1/snap-1/x.json", Body=b"{}", IfNoneMatch="*")
    for action, more in ((s3.put_object, {"Key": KEY, "Body": b"x"}), (s3.put_object, {"Key": "INC-1/x", "Body": b"x"}),
                         (s3.put_object, {"Key": "requests/x.json", "Body": b"x", "IfNoneMatch": "*"}),
                         (s3.get_object, {"Key": "INC-1/snap-1/x.json"}), (s3.delete_object, {"Key": KEY}),
                         (s3.list_objects_v2, {}), (s3.list_objects_v2, {"Prefix": "INC-1/"})):
        assert code(action, Bucket=BUCKET, **more) == "AccessDenied", more


def test_who_answers_requests_publishes_no_tools(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    keys = person(kit, "controller", "controller-policy.json")
    refused = call(kit, keys, capsys, "artifact_put", key=KEY, content="{}")
    assert refused["failed"] and "S3 refused it: AccessDenied" in refused["msg"], refused
    assert "Contents" not in kit.client("s3").list_objects_v2(Bucket=BUCKET)
