# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers in the lab's bucket, with the policies that operators are given and a key of its KMS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.custody import rsa, verify
from ansible_collections.dfir.aws.plugins.module_utils.custody.aws import BucketStore, KmsKey
from ansible_collections.dfir.aws.plugins.module_utils.custody.errors import StoreError
from ansible_collections.dfir.aws.plugins.module_utils.custody.ledger import Artifact, Ledger
from botocore.exceptions import ClientError

from tests.unit.custody.custody_kit import ACTOR, INCIDENT, TOOL, told
from tests.unit.lab.aws_kit import REGION, Kit, Recorder

pytestmark = pytest.mark.slow  # whole accounts

ROOT = Path(__file__).resolve().parents[3]
BUCKET, ACCOUNT, ALIAS = "dfir-custody-test", "123456789012", "alias/dfir-custody"


def document(name: str) -> dict[str, Any]:
    text = (ROOT / "docs" / "iam" / name).read_text().replace("ARTIFACT_BUCKET", BUCKET).replace("ACCOUNT_ID", ACCOUNT)
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"), hosts=Recorder())
    s3, kms = kit.client("s3"), kit.client("kms")
    s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True,
                     CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(document("artifact-bucket-policy.json")))
    for alias in (ALIAS, "alias/other"):
        made = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]
        kms.create_alias(AliasName=alias, TargetKeyId=made["KeyId"])
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def clients(kit: Kit) -> Callable[[str], Any]:
    """Clients of somebody with docs/iam/custody-policy.json and nothing else."""
    keys = kit.user("custodian", *document("custody-policy.json")["Statement"])
    return lambda service: kit.client(service, keys=keys)


def test_a_case_in_a_bucket_from_several_writers_to_its_closing(kit: Kit, clients: Callable[[str], Any]) -> None:
    admin = kit.client("s3")
    admin.put_object(Bucket=BUCKET, Key=f"{INCIDENT}/snap-1/a.txt", Body=b"content", IfNoneMatch="*")

    def write(writer: int) -> None:
        ledger = Ledger(BucketStore(clients("s3"), BUCKET), INCIDENT)
        for number in range(4):
            ledger.append(told(10 * writer + number))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(1, 4)))
    store, key = BucketStore(clients("s3"), BUCKET, retain_days=30), KmsKey(clients("kms"), ALIAS)
    ledger = Ledger(store, INCIDENT)
    ledger.refresh()
    assert ledger.number == 12
    assert ledger.sign(key).changed and not ledger.sign(key).changed
    [name] = store.names(f"{INCIDENT}/")
    measured = store.measure(name)
    assert measured is not None
    ledger.close([Artifact(name, *measured)], ACTOR, TOOL)
    ledger.sign(key)
    public = rsa.read_key(kit.client("kms").get_public_key(KeyId=ALIAS)["PublicKey"])
    verdict = verify.verify(store, INCIDENT, public)
    assert (verdict.state, verdict.closed, verdict.signed, len(verdict.artifacts)) == ("valid", True, 13, 1)
    assert verdict.entries[0]["time"]["aws"] is not None, "S3's own time"
    other = rsa.read_key(kit.client("kms").get_public_key(KeyId="alias/other")["PublicKey"])
    assert "is by another key" in verify.verify(store, INCIDENT, other).problem
    # Not even the administrator changes an entry, and what is under Object Lock stays.
    entry = f"custody/{INCIDENT}/entries/000000013.json"
    assert admin.head_object(Bucket=BUCKET, Key=entry)["ObjectLockMode"] == "GOVERNANCE"
    for wrong in ({}, {"IfMatch": '"x"'}):
        with pytest.raises(ClientError) as refused:
            admin.put_object(Bucket=BUCKET, Key=entry, Body=b"x", **wrong)
        assert refused.value.response["Error"]["Code"] in ("AccessDenied", "PreconditionFailed")
    for client in (clients("s3"), admin):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=BUCKET, Key=entry)


@pytest.mark.parametrize("policy", ["controller-policy.json", "imaging-policy.json", "acquisition-policy.json"])
def test_who_records_writes_and_signs_and_neither_deletes_nor_reads_artifacts(kit: Kit, policy: str) -> None:
    """Each identity that works on a case, with its own policy alone."""
    keys = kit.user(policy.partition("-")[0], *json.loads(json.dumps(document(policy)).replace(
        "ANALYSIS_REGION", REGION))["Statement"])
    s3, kms = kit.client("s3", keys=keys), kit.client("kms", keys=keys)
    kit.client("s3").put_object(Bucket=BUCKET, Key=f"INC-{policy}/x/other.txt", Body=b"evidence", IfNoneMatch="*")
    ledger = Ledger(BucketStore(s3, BUCKET, retain_days=1), f"INC-{policy}")
    assert [written.changed for written in ledger.append_tries([told(1), told(2)])] == [True, True]
    assert ledger.sign(KmsKey(kms, ALIAS)).changed
    with pytest.raises(StoreError, match="access denied"):
        ledger.sign(KmsKey(kms, "alias/other"))
    for key in (f"custody/INC-{policy}/entries/000000001.json", f"INC-{policy}/x/other.txt"):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket=BUCKET, Key=f"INC-{policy}/x/other.txt")


def test_hosts_write_no_ledger(kit: Kit) -> None:
    """Whatever its policy says: a role below /dfir/ is refused by the bucket."""
    iam = kit.client("iam")
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName="host", Path="/dfir/", AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName="host", PolicyName="p", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
    given = kit.client("sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/dfir/host",
                                          RoleSessionName="i-1")["Credentials"]
    host = kit.client("s3", keys=(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]))
    with pytest.raises(StoreError, match="access denied"):
        Ledger(BucketStore(host, BUCKET), "INC-host").append(told(1))
    host.put_object(Bucket=BUCKET, Key="INC-host/x", Body=b"x", IfNoneMatch="*")  # it is this prefix that is shut


def test_a_key_that_does_not_sign_is_told_in_a_sentence(kit: Kit, clients: Callable[[str], Any]) -> None:
    ledger = Ledger(BucketStore(clients("s3"), BUCKET), "INC-keys")
    ledger.append(told(1))
    kms = kit.client("kms")
    encrypting = kms.create_key()["KeyMetadata"]["Arn"]
    for client, name, sentence in (
            (clients("kms"), "alias/other", "access denied; docs/iam/custody-policy.json"),
            (kms, "alias/none", "there is no such key"), (kms, encrypting, "the key is not for this")):
        with pytest.raises(StoreError, match=sentence):
            ledger.sign(KmsKey(client, name))
    key = kms.describe_key(KeyId="alias/other")["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key)
    with pytest.raises(StoreError, match="the key is disabled"):
        ledger.sign(KmsKey(kms, "alias/other"))
    kms.enable_key(KeyId=key)
    assert not kit.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="custody/INC-keys/signatures/").get("Contents")


def test_what_stands_in_the_way_of_a_bucket_is_told_in_a_sentence(kit: Kit, clients: Callable[[str], Any]) -> None:
    with pytest.raises(StoreError, match=r"s3://dfir-none/.* there is no such bucket"):
        Ledger(BucketStore(kit.client("s3"), "dfir-none"), INCIDENT).append(told(1))
    # A bucket without Object Lock: written all the same.
    kit.client("s3").create_bucket(Bucket="dfir-lockless", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert Ledger(BucketStore(kit.client("s3"), "dfir-lockless", retain_days=30), INCIDENT).append(told(1)).changed
    assert "ObjectLockMode" not in kit.client("s3").head_object(
        Bucket="dfir-lockless", Key=f"custody/{INCIDENT}/entries/000000001.json")


def test_what_was_read_is_not_read_again_and_what_came_meanwhile_is(kit: Kit, tmp_path: Path) -> None:
    s3, asked = kit.client("s3"), []
    s3.meta.events.register("before-call.s3.GetObject", lambda **_more: asked.append(1))

    def ledger() -> Ledger:
        return Ledger(BucketStore(s3, BUCKET, known=tmp_path / "known"), "INC-known")

    for number in range(1, 4):
        Ledger(BucketStore(kit.client("s3"), BUCKET), "INC-known").append(told(number))
    for gets in (3, 0):
        again = ledger()
        again.refresh()
        assert again.number == 3 and len(asked) == gets
        asked.clear()
    Ledger(BucketStore(kit.client("s3"), BUCKET), "INC-known").append(told(4))
    assert ledger().append(told(5)).number == 5 and len(asked) == 1
