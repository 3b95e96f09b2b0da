# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills the lab's account as an operator would set up a real one: over the public API, and again without harm."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lab import seed_member
from lab.aws.account import ADMIN, CONTROLLER, CUSTODIAN, REGIONS
from lab.cli_client import LabError
from lab.config import ACCOUNT, CHECKOUT, MEMBER, LabConfig

ANALYSIS_REGION = "eu-west-1"
EVIDENCE_REGION = "us-east-1"
BUCKET = f"dfir-artifacts-{ACCOUNT}"
BOUNDARY = "dfir-analysis-host-boundary"
KEY_ALIAS = "alias/dfir-evidence"
CUSTODY_ALIAS = "alias/dfir-custody"
SHARING_ALIAS = "alias/dfir-sharing"
KEY_SECRET = "dfir/controller-ssh-key"  # noqa: S105  a name
KEY_PARAMETER = "/dfir/controller-ssh-key"
ANALYST_PARAMETER = "/dfir/analysts/alice/public_key"
ANALYST_USER = "alice"
ANALYST_SECRET = "dfir/analysts/alice"  # noqa: S105  a name
# Where the evidence lies, each with the idempotency token that fixes the snapshot's id: in another region than the
# analysis, and in the same.
EVIDENCE = {EVIDENCE_REGION: "dfir-lab-evidence-1", ANALYSIS_REGION: "dfir-lab-evidence-2"}
POLICIES = CHECKOUT / "docs" / "iam"
# As docs/sharing.md has it: member accounts encrypt under this key what their default keys would keep from us.
SHARING_POLICY = {"Version": "2012-10-17", "Statement": [
    {"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*",
     "Resource": "*"},
    {"Sid": "MemberAccountsEncryptUnderIt", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"},
     "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom",
                "kms:ReEncryptTo"], "Resource": "*"},
    {"Sid": "MemberAccountsGrantEC2", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"},
     "Action": "kms:CreateGrant", "Resource": "*", "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}]}


def client(settings: LabConfig, service: str, region: str = ANALYSIS_REGION) -> Any:
    """A boto3 client of the lab's administrator."""
    return boto3.client(  # type: ignore[call-overload]
        service, region_name=region, endpoint_url=settings.endpoint, aws_access_key_id=ADMIN[1],
        aws_secret_access_key=ADMIN[2],
        config=Config(retries={"max_attempts": 3}, proxies={}, s3={"addressing_style": "path"}))


def document(name: str) -> str:
    """A policy of docs/iam with its placeholders replaced, as docs/real-account.md tells a reader to do with sed."""
    path = POLICIES / name
    if not path.exists():
        raise LabError(f"{path} is missing; the checkout is not complete")
    text = path.read_text()
    for placeholder, value in (("ACCOUNT_ID", ACCOUNT), ("ARTIFACT_BUCKET", BUCKET),
                               ("ANALYSIS_REGION", ANALYSIS_REGION)):
        text = text.replace(placeholder, value)
    return json.dumps(json.loads(text))


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def policies(settings: LabConfig) -> None:
    """The controller's policy and the permissions boundary of analysis hosts."""
    iam = client(settings, "iam")
    arn = f"arn:aws:iam::{ACCOUNT}:policy/dfir/{BOUNDARY}"
    text = document("analysis-host-boundary.json")
    try:
        iam.create_policy(PolicyName=BOUNDARY, Path="/dfir/", PolicyDocument=text)
    except ClientError as error:
        if _code(error) != "EntityAlreadyExists":
            raise
        versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
        current = next(v["VersionId"] for v in versions if v["IsDefaultVersion"])
        known = iam.get_policy_version(PolicyArn=arn, VersionId=current)["PolicyVersion"]["Document"]
        if known != json.loads(text):
            for version in versions:
                if not version["IsDefaultVersion"]:
                    iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
    iam.put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-controller",
                        PolicyDocument=document("controller-policy.json"))
    iam.put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-imaging",
                        PolicyDocument=document("imaging-policy.json"))
    iam.put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-acquisition",
                        PolicyDocument=document("acquisition-policy.json"))
    iam.put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-member-access",
                        PolicyDocument=document("member-access-policy.json"))
    for name in ("containment", "containment-revoke"):
        iam.put_user_policy(UserName=CONTROLLER[0], PolicyName=f"dfir-{name}",
                            PolicyDocument=document(f"{name}-policy.json"))
    iam.put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-sharing",
                        PolicyDocument=document("sharing-policy.json"))
    iam.put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-toolbox",
                        PolicyDocument=document("toolbox-policy.json"))
    iam.put_user_policy(UserName=CUSTODIAN[0], PolicyName="dfir-custody",
                        PolicyDocument=document("custody-policy.json"))
    iam.put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-retention",
                        PolicyDocument=document("retention-policy.json"))


def bucket(settings: LabConfig) -> None:
    """The artifact bucket: versioned, write-once."""
    s3 = client(settings, "s3")
    if BUCKET not in [b["Name"] for b in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": ANALYSIS_REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True))
    s3.put_bucket_policy(Bucket=BUCKET, Policy=document("artifact-bucket-policy.json"))


def keys(settings: LabConfig) -> None:
    """KMS keys: for evidence in each region, and one that signs ledgers. The subnets that analysis hosts go to."""
    for region in REGIONS:
        kms = client(settings, "kms", region)
        aliases = [a["AliasName"] for page in kms.get_paginator("list_aliases").paginate() for a in page["Aliases"]]
        if KEY_ALIAS not in aliases:
            key = kms.create_key(Description="Evidence volumes and copied snapshots")["KeyMetadata"]["KeyId"]
            kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key)
        if SHARING_ALIAS not in aliases:
            key = kms.create_key(Description="Snapshots on their way here", Policy=json.dumps(SHARING_POLICY))
            kms.create_alias(AliasName=SHARING_ALIAS, TargetKeyId=key["KeyMetadata"]["KeyId"])
        if region == ANALYSIS_REGION and CUSTODY_ALIAS not in aliases:
            key = kms.create_key(Description="Heads of custody ledgers", KeyUsage="SIGN_VERIFY",
                                 KeySpec="RSA_3072")["KeyMetadata"]["KeyId"]
            kms.create_alias(AliasName=CUSTODY_ALIAS, TargetKeyId=key)
    ec2 = client(settings, "ec2")
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    if not any(t == {"Key": "Name", "Value": "dfir-analysis"} for s in subnets for t in s.get("Tags", [])):
        for subnet in sorted(subnets, key=lambda s: s["AvailabilityZone"])[:2]:
            ec2.create_tags(Resources=[subnet["SubnetId"]], Tags=[{"Key": "Name", "Value": "dfir-analysis"}])
            # As a subnet for analysis hosts should be: moto's default ones give out public addresses, like AWS'.
            ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": False})
    # What leads from there to S3. Hosts of the lab reach the API in any case; an account is known by what it shows.
    vpc = next(s["VpcId"] for s in subnets)
    s3_endpoint = f"com.amazonaws.{ANALYSIS_REGION}.s3"
    known = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["VpcEndpoints"]
    if not any(item["ServiceName"] == s3_endpoint for item in known):
        tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
        ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=s3_endpoint, VpcEndpointType="Gateway",
                                RouteTableIds=[table["RouteTableId"] for table in tables])


def _readable_by_caller(path: Path) -> None:
    """Files made under sudo belong to who called it: plain Ansible reads them without root."""
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdigit():
        os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID") or -1))


def key_pair(settings: LabConfig, name: str, kind: str = "ed25519") -> Path:
    """An SSH key pair of the lab, made once."""
    settings.keys.mkdir(parents=True, exist_ok=True)
    _readable_by_caller(settings.keys)
    path = settings.keys / name
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{name}@dfir.aws lab", "-f", str(path)],
                       check=True, stdin=subprocess.DEVNULL, capture_output=True)
    for file in (path, path.with_suffix(".pub")):
        _readable_by_caller(file)
    return path


def people(settings: LabConfig) -> None:
    """The controller's and the analyst's SSH keys, where a real account keeps them."""
    secrets, ssm = client(settings, "secretsmanager"), client(settings, "ssm")
    private = key_pair(settings, "controller").read_text()
    public = key_pair(settings, "analyst").with_suffix(".pub").read_text().strip()
    for name, text in ((KEY_SECRET, private), (ANALYST_SECRET, public)):
        try:
            secrets.create_secret(Name=name, SecretString=text)
        except ClientError as error:
            if _code(error) != "ResourceExistsException":
                raise
            if secrets.get_secret_value(SecretId=name)["SecretString"] != text:
                secrets.put_secret_value(SecretId=name, SecretString=text)
    ssm.put_parameter(Name=KEY_PARAMETER, Value=private, Type="SecureString", Overwrite=True)
    ssm.put_parameter(Name=ANALYST_PARAMETER, Value=public, Type="String", Overwrite=True)
    # IAM takes RSA keys alone.
    iam, rsa = client(settings, "iam"), key_pair(settings, "analyst-rsa", "rsa").with_suffix(".pub").read_text()
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_user(UserName=ANALYST_USER)
    if not iam.list_ssh_public_keys(UserName=ANALYST_USER)["SSHPublicKeys"]:
        iam.upload_ssh_public_key(UserName=ANALYST_USER, SSHPublicKeyBody=rsa)


def evidence_snapshot(settings: LabConfig, region: str, say: Callable[[str], None]) -> str:
    """The evidence disk as a snapshot of a region; built once, uploaded over EBS direct."""
    from lab.aws.rooms import snapshot_id
    from lab.evidence.image import ensure_image
    from lab.evidence.upload import upload

    token = EVIDENCE[region]
    name = snapshot_id(token)
    ec2 = client(settings, "ec2", region)
    known = ec2.describe_snapshots(Filters=[{"Name": "snapshot-id", "Values": [name]}])["Snapshots"]
    if known and known[0]["State"] == "completed":
        return name
    image = ensure_image(settings.cache, say=say)
    found = upload(image.path, client(settings, "ebs", region), client_token=token,
                   description="Disk of web-1, taken after an alert", tags={"Name": "evidence"}, say=say)
    if found != name:
        raise LabError(f"the evidence snapshot got the id {found} instead of {name}")
    return found


def toolbox_archive(settings: LabConfig, say: Callable[[str], None]) -> None:
    """The toolbox image as an archive in the bucket, for hosts that reach no registry."""
    from lab.content.toolbox import IMAGE_NAME, ensure_toolbox_image, image_version, write_archive

    reference = f"localhost/{IMAGE_NAME}:{image_version()}"
    key = f"toolbox/{IMAGE_NAME}-{image_version()}.tar"
    s3 = client(settings, "s3")
    with tempfile.NamedTemporaryFile(prefix="lab-archive-") as archive:
        write_archive(ensure_toolbox_image(settings.cache), reference, Path(archive.name))
        with suppress(s3.exceptions.ClientError):  # there already: nothing is ever written twice
            s3.put_object(Bucket=BUCKET, Key=key, Body=archive, IfNoneMatch="*")
    s3.head_object(Bucket=BUCKET, Key=key)
    say(f"{reference} as s3://{BUCKET}/{key}")


def seed(settings: LabConfig, *, evidence: bool, say: Callable[[str], None]) -> None:
    """Do all of it; what is there already stays."""
    try:
        policies(settings)
        bucket(settings)
        keys(settings)
        people(settings)
    except ClientError as error:
        raise LabError(f"the account could not be filled: {error}") from None
    say(f"account {ACCOUNT}: user {CONTROLLER[0]}, boundary /dfir/{BOUNDARY}, bucket {BUCKET}, key {KEY_ALIAS}")
    if not evidence:
        seed_member.seed(settings, evidence="", share=None, say=say)
        say("no evidence snapshot, as asked (--no-evidence)")
        return
    say("preparing the evidence disk (under two minutes the first time, then cached), uploading it by EBS direct")
    for region in EVIDENCE:
        say(f"evidence: {evidence_snapshot(settings, region, say)} in {region}")
    seed_member.seed(settings, evidence=evidence_snapshot(settings, seed_member.REGION, say),
                     share=client(settings, "ec2", seed_member.REGION), say=say)
