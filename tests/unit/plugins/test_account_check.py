# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account lacks: nothing at first, then each thing is removed in turn, on the lab's AWS with its policies.

The lab's front, gate and policies run in this process.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils.account import (
    compute,
    findings,
    identity,
    outside,
    policies,
    storage,
)
from ansible_collections.dfir.aws.plugins.modules import account_check_info

from lab import audit, seed
from lab.aws import policy as lab_policy
from lab.aws import quotas
from lab.aws.account import CONTROLLER
from lab.config import ACCOUNT, LabConfig
from tests.unit.lab.aws_kit import IMAGE, REGION, Kit

pytestmark = pytest.mark.slow  # a whole account each

OPERATOR = yaml.safe_load((seed.CHECKOUT / "inventories/lab/group_vars/all.yml").read_text(encoding="utf-8"))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb8cLDeuEZkWBBBlHq0hNjtG7zS4kf6kV0WJQ1F7u"
SETTINGS: dict[str, Any] = {
    "regions": [REGION], "instance_type": "m6i.large", "bucket": seed.BUCKET, "bucket_region": REGION,
    "permissions_boundary_arn": OPERATOR["dfir_aws_permissions_boundary_arn"], "kms_key_id": seed.KEY_ALIAS,
    "image_id": "", "parameter": OPERATOR["dfir_aws_ami_parameter"], "subnet_ids": [],
    "subnet_filters": OPERATOR["dfir_aws_subnet_filters"], "controller_cidrs": ["198.51.100.10/32"],
    "controller_public_key": KEY, "analysts": OPERATOR["dfir_aws_analysts"], "registry_source": "inventory",
    "registry_file": "", "mail": {}, "toolbox_image": "", "toolbox_archive": "", "toolbox_registry_insecure": True,
    "apt_source": "deb http://mirror ./",
}
MORE = {"owner": None, "name": None, "account": ACCOUNT, "partition": "aws"}
Found = list[findings.Finding]


class Account:
    """A lab's account as its operator made it, and checks of it with the controller's rights."""

    def __init__(self, folder: Path) -> None:
        self.kit = Kit(folder)
        self.lab = LabConfig(state=folder, cache=folder, port=urlsplit(self.kit.endpoint).port or 0)
        seed.policies(self.lab)
        # Its rights to image, acquire, share and contain are no rights that requests need: a test that takes one of
        # these away takes it away.
        for name in ("dfir-imaging", "dfir-acquisition", "dfir-member-access", "dfir-sharing", "dfir-containment",
                     "dfir-containment-revoke"):
            self.kit.client("iam").delete_user_policy(UserName=CONTROLLER[0], PolicyName=name)
        seed.bucket(self.lab)
        seed.keys(self.lab)

    def asks(self, **settings: Any) -> findings.Asks:
        return findings.Asks({**SETTINGS, **MORE, **settings},
                             lambda service, region: self.kit.client(service, region, CONTROLLER[1:]))

    def look(self, check: Callable[..., Any], *more: str, **settings: Any) -> Found:
        return findings.carried_out("topic", "", check, self.asks(**settings), *more)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    made = Account(tmp_path)
    yield made
    made.kit.close()


def states(found: Found) -> list[str]:
    return [finding.state for finding in found]


def missing(found: Found, *words: str) -> findings.Finding:
    """The one finding that is missing; it says these words and what to do."""
    those = [finding for finding in found if finding.state == findings.MISSING]
    assert len(those) == 1, found
    for word in words:
        assert word in those[0].text, those[0]
    assert those[0].remedy
    return those[0]


CHECKS: list[tuple[Callable[..., Any], tuple[str, ...]]] = [
    (identity.caller, ()), (compute.quota, (REGION,)), (compute.image, (REGION,)), (compute.network, (REGION,)),
    (storage.key, (REGION,)), (identity.permissions, (REGION,)), (storage.bucket, ()), (identity.record_rights, ()),
    (identity.boundary, ()), (outside.settings, ())]


def test_an_account_that_lacks_nothing(account: Account) -> None:
    before = audit.account(account.lab)
    for check, more in CHECKS:
        found = account.look(check, *more)
        assert found and findings.MISSING not in states(found) and findings.OK in states(found), found
    assert audit.account(account.lab) == before, "a check changes nothing"


def test_the_whole_of_it_as_a_module(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {**SETTINGS, "access_key": CONTROLLER[1], "secret_key": CONTROLLER[2], "region": REGION,
                 "endpoint_url": account.kit.endpoint}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        account_check_info.main()
    told = json.loads(capsys.readouterr().out)
    assert not told["changed"]
    assert {"mail", "toolbox image"} == {item["topic"] for item in told["findings"] if item["state"] == "missing"}
    assert "(mail, toolbox image)" in told["verdict"]
    assert not [line for line in told["lines"] if ": " in line or line.startswith(" ")]
    assert [line for line in told["lines"] if line.startswith("-> do ") and "docs/real-account.md#mail" in line]


class TestWhoAsks:
    def test_a_caller_who_is_nobodys(self, account: Account) -> None:
        analysts = [{**OPERATOR["dfir_aws_analysts"][0], "callers": ["arn:aws:iam::1:user/x"]}]
        found = account.look(identity.caller, analysts=analysts)
        assert not missing(found, "no analyst's callers").needed and findings.verdict(found) == ""

    def test_an_empty_registry(self, account: Account) -> None:
        assert missing(account.look(identity.caller, analysts=[]), "no analyst").needed

    @pytest.mark.parametrize(("gone", "said"), [
        ("CreateSecurityGroupsTagged", "ec2:CreateSecurityGroup"), ("TagOnlyWhileCreating", "ec2:CreateSecurityGroup"),
        ("CreateEvidenceVolumesTaggedAndEncrypted", "ec2:CreateVolume")])
    def test_a_right_to_create_that_is_gone(self, account: Account, gone: str, said: str) -> None:
        without(account, gone)
        found = account.look(identity.permissions, REGION)
        assert said in " ".join(item.text for item in found if item.state == findings.MISSING)
        assert "controller-policy.json" in next(item.remedy for item in found if item.state == findings.MISSING)

    def test_no_right_to_write_records(self, account: Account) -> None:
        without(account, "KeepRecords")
        missing(account.look(identity.record_rights), "may not write records")

    def test_what_the_caller_may_not_ask_is_not_checkable_or_a_right_that_requests_need(self, account: Account) -> None:
        account.kit.client("iam").put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-controller",
                                                  PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sns:ListTopics", "Resource": "*"}]}))
        for check, more in ((storage.key, (REGION,)), (identity.boundary, ())):
            found = account.look(check, *more)
            assert states(found) == [findings.UNKNOWN] and "may not ask" in found[0].text, found
        for check in (compute.image, compute.network):
            assert "may not ask" in missing(account.look(check, REGION)).text
        missing(account.look(storage.bucket), "no right to it (s3:ListBucket)")

    def test_what_was_found_before_an_error_counts(self, account: Account) -> None:
        without(account, "SeeTheBucketAndWhichArtifactsAreThere", [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}])
        found = account.look(storage.bucket)
        assert states(found) == [findings.OK, findings.UNKNOWN] and "GetBucketVersioning" in found[1].text


def without(account: Account, sid: str, instead: Any = ()) -> None:
    """Take a statement out of the controller's policy."""
    document = json.loads(seed.document("controller-policy.json"))
    kept = [item for item in document["Statement"] if item["Sid"] != sid]
    assert len(kept) == len(document["Statement"]) - 1
    account.kit.client("iam").put_user_policy(UserName=CONTROLLER[0], PolicyName="dfir-controller",
                                              PolicyDocument=json.dumps({**document, "Statement": [*kept, *instead]}))


class TestBoundary:
    def test_none_is_set_or_there(self, account: Account) -> None:
        missing(account.look(identity.boundary, permissions_boundary_arn=""), "not set")
        arn = SETTINGS["permissions_boundary_arn"]
        account.kit.client("iam").delete_policy(PolicyArn=arn)
        assert "create-policy" in missing(account.look(identity.boundary), "there is no policy").remedy

    @pytest.mark.parametrize(("statements", "said"), [
        ([{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}], "does not let hosts write artifacts"),
        ([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}], "more than it needs (s3:GetObject, s3:DeleteObject"),
        ([{"Effect": "Allow", "Action": "*", "Resource": "*"}], "ec2:RunInstances")])
    def test_one_that_is_too_narrow_or_too_wide(self, account: Account, statements: Any, said: str) -> None:
        account.kit.client("iam").create_policy_version(
            PolicyArn=SETTINGS["permissions_boundary_arn"], SetAsDefault=True,
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}))
        missing(account.look(identity.boundary), said)

    def test_one_of_a_time_before_hosts_read_blocks(self, account: Account) -> None:
        document = json.loads(seed.document("analysis-host-boundary.json"))
        document["Statement"] = [item for item in document["Statement"] if item["Sid"] != "AtMostReadBlocks"]
        account.kit.client("iam").create_policy_version(
            PolicyArn=SETTINGS["permissions_boundary_arn"], SetAsDefault=True, PolicyDocument=json.dumps(document))
        found = account.look(identity.boundary)
        assert not missing(found, "evidence_by=direct").needed and findings.verdict(found) == ""


class TestCompute:
    def test_a_quota_that_is_too_small(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quotas, "VCPUS", 1.0)
        found = missing(account.look(compute.quota, REGION), "1 vCPUs, 0 in use, 2 for one m6i.large")
        assert "request-service-quota-increase" in found.remedy and "L-1216C47A" in found.remedy
        monkeypatch.setattr(quotas, "VCPUS", 5.0)
        launch = {"ImageId": IMAGE, "InstanceType": "m6i.xlarge", "MinCount": 1, "MaxCount": 1}
        running = account.kit.client("ec2").run_instances(**launch)["Instances"][0]["InstanceId"]
        account.kit.instance(running, "running")
        missing(account.look(compute.quota, REGION), "5 vCPUs, 4 in use, 2 for one m6i.large")

    @pytest.mark.parametrize(("kind", "code"), [
        ("m6i.large", "L-1216C47A"), ("im4gn.large", "L-1216C47A"), ("t3.micro", "L-1216C47A"),
        ("g5.xlarge", "L-DB2E81BA"), ("p4d.24xlarge", "L-417A185B"), ("x2idn.16xlarge", "L-7295265B"),
        ("f1.2xlarge", "L-74FC7D96"), ("u-6tb1.metal", "")])
    def test_each_type_counts_against_its_own_quota(self, kind: str, code: str) -> None:
        assert compute.quota_code(kind) == code

    def test_a_type_whose_quota_is_unknown_is_not_checkable(self, account: Account) -> None:
        assert states(account.look(compute.quota, REGION, instance_type="u-6tb1.metal")) == [findings.UNKNOWN]
        assert states(account.look(compute.quota, REGION, instance_type="g5.xlarge")) == [findings.UNKNOWN]

    def test_an_image_that_is_not_there_or_does_not_fit(self, account: Account) -> None:
        missing(account.look(compute.image, REGION, parameter="/aws/service/nothing"), "no SSM parameter")
        amazon = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
        missing(account.look(compute.image, REGION, parameter=amazon), "Amazon Linux")
        missing(account.look(compute.image, REGION, instance_type="x9z.large"), "not offered")

    def test_no_subnet_or_one_with_public_addresses(self, account: Account) -> None:
        missing(account.look(compute.network, REGION, subnet_filters={"tag:Name": "nothing"}), "none is meant")
        assert states(account.look(identity.permissions, REGION, subnet_filters={})) == [findings.UNKNOWN]
        ec2 = account.kit.client("ec2")
        subnet = compute.subnets(account.asks(), REGION)[0]["SubnetId"]
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        assert "--no-map-public-ip-on-launch" in missing(account.look(compute.network, REGION), "public address").remedy

    def test_no_way_to_s3(self, account: Account) -> None:
        ec2 = account.kit.client("ec2")
        endpoints = [item["VpcEndpointId"] for item in ec2.describe_vpc_endpoints()["VpcEndpoints"]]
        ec2.delete_vpc_endpoints(VpcEndpointIds=endpoints)
        one = [compute.subnets(account.asks(), REGION)[0]["SubnetId"]]
        found = missing(account.look(compute.network, REGION, subnet_ids=one), "does not reach S3, there is no way")
        assert "create-vpc-endpoint" in found.remedy and "rtb-" in found.remedy
        table = ec2.describe_route_tables()["RouteTables"][0]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=table["VpcId"])
        ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        missing(account.look(compute.network, REGION, subnet_ids=one), "an internet gateway serves no host without")

    def test_no_way_to_packages(self, account: Account) -> None:
        one = [compute.subnets(account.asks(), REGION)[0]["SubnetId"]]
        missing(account.look(compute.network, REGION, apt_source="", subnet_ids=one), "does not reach Debian's mirrors")

    def test_several_subnets_of_one_network_and_of_two(self, account: Account) -> None:
        both = [item["SubnetId"] for item in compute.subnets(account.asks(), REGION)]
        assert len(both) == 2
        said = [item.text for item in account.look(compute.network, REGION, subnet_ids=both)]
        assert [text.split(" in ")[1] for text in said if " in eu-west-1" in text] == ["eu-west-1a", "eu-west-1b"]
        gone = "subnet-0123456789abcdef0"
        missing(account.look(compute.network, REGION, subnet_ids=[*both, gone]), f"{gone} is not there")
        ec2 = account.kit.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        other = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
        found = account.look(compute.network, REGION, subnet_ids=[*both, other])
        assert [item for item in found if "lie in several networks" in item.text and item.state == findings.MISSING]

    @pytest.mark.parametrize(("route", "s3", "packages"), [
        ({"NatGatewayId": "nat-1"}, "ok", "ok"), ({"TransitGatewayId": "tgw-1"}, "not checkable", "not checkable"),
        ({"NatGatewayId": "nat-1", "State": "blackhole"}, "missing", "missing")])
    def test_a_default_route_tells_the_way(self, route: dict[str, str], s3: str, packages: str) -> None:
        """The lab has neither NAT nor transit gateways: a stub tells of them."""
        asks = findings.Asks({**SETTINGS, "apt_source": ""}, lambda service, region: Routes(route))
        assert states(list(compute._egress(asks, REGION, {"SubnetId": "subnet-1", "VpcId": "vpc-1"}))) == [s3, packages]


class Routes:
    """Answers as EC2 does about one subnet with a table of its own."""

    def __init__(self, route: dict[str, str]) -> None:
        self._route = {"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **route}

    def describe_route_tables(self, **_: Any) -> dict[str, Any]:
        return {"RouteTables": [{"RouteTableId": "rtb-1", "Routes": [self._route]}]}

    def describe_vpc_endpoints(self, **_: Any) -> dict[str, Any]:
        return {"VpcEndpoints": []}


class TestKey:
    def test_none_is_there_or_it_cannot_be_used(self, account: Account) -> None:
        assert "create-alias" in missing(account.look(storage.key, REGION, kms_key_id="alias/nothing"), "no key").remedy
        kms = account.kit.client("kms")
        name = kms.describe_key(KeyId=seed.KEY_ALIAS)["KeyMetadata"]["KeyId"]
        kms.disable_key(KeyId=name)
        assert "enable-key" in missing(account.look(storage.key, REGION), "in state Disabled").remedy
        kms.enable_key(KeyId=name)
        kms.schedule_key_deletion(KeyId=name, PendingWindowInDays=7)
        assert "cancel-key-deletion" in missing(account.look(storage.key, REGION), "PendingDeletion").remedy

    def test_a_key_of_another_kind(self, account: Account) -> None:
        name = account.kit.client("kms").create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        missing(account.look(storage.key, REGION, kms_key_id=name), "of the kind RSA_2048")

    def test_the_default_key_will_do(self, account: Account) -> None:
        assert states(account.look(storage.key, REGION, kms_key_id="")) == [findings.OK]


class TestBucket:
    def test_none_is_there_or_it_lies_elsewhere(self, account: Account) -> None:
        s3 = account.kit.client("s3")
        s3.delete_bucket(Bucket=seed.BUCKET)
        assert "create-bucket" in missing(account.look(storage.bucket), "there is no bucket").remedy
        account.kit.client("s3", "us-west-2").create_bucket(
            Bucket=seed.BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        assert "bucket_region us-west-2" in missing(account.look(storage.bucket), "in us-west-2").remedy

    def test_no_versions(self, account: Account) -> None:
        account.kit.client("s3").put_bucket_versioning(Bucket=seed.BUCKET,
                                                       VersioningConfiguration={"Status": "Suspended"})
        assert "put-bucket-versioning" in missing(account.look(storage.bucket), "does not keep versions").remedy

    def test_open_to_the_public(self, account: Account) -> None:
        account.kit.client("s3").delete_public_access_block(Bucket=seed.BUCKET)
        assert "put-public-access-block" in missing(account.look(storage.bucket), "is not blocked").remedy

    def test_no_policy(self, account: Account) -> None:
        account.kit.client("s3").delete_bucket_policy(Bucket=seed.BUCKET)
        assert "put-bucket-policy" in missing(account.look(storage.bucket), "there is none").remedy

    @pytest.mark.parametrize(("sid", "said"), [
        ("ArtifactsAreWrittenOnce", ["artifacts are written once (If-None-Match demanded)"]),
        ("RecordsChangeByCompareAndSwap", ["records change by compare-and-swap only"]),
        ("AnalysisHostsWriteNeitherRecordsNorTools", ["hosts write no records", "hosts write no tools"]),
        ("OnlyRetentionDeletes", ["nobody but retention deletes", "nobody but retention deletes versions"])])
    def test_each_statement_of_the_policy_removed_in_turn(self, account: Account, sid: str, said: list[str]) -> None:
        document = json.loads(seed.document("artifact-bucket-policy.json"))
        document["Statement"] = [item for item in document["Statement"] if item["Sid"] != sid]
        account.kit.client("s3").put_bucket_policy(Bucket=seed.BUCKET, Policy=json.dumps(document))
        found = account.look(storage.bucket)
        assert [item.text.removeprefix("it does not hold that ") for item in found
                if item.state == findings.MISSING] == said
        assert all("put-bucket-policy" in item.remedy for item in found if item.state == findings.MISSING)

    def test_a_policy_that_locks_everybody_out(self, account: Account) -> None:
        document = json.loads(seed.document("artifact-bucket-policy.json"))
        document["Statement"].append({"Effect": "Deny", "Principal": "*", "Action": "s3:Put*", "Resource": "*"})
        account.kit.client("s3").put_bucket_policy(Bucket=seed.BUCKET, Policy=json.dumps(document))
        texts = [item.text for item in account.look(storage.bucket) if item.state == findings.MISSING]
        assert texts == ["it does not hold that hosts may write new artifacts",
                         "it does not hold that the controller may change records"]

    def test_a_policy_in_words_that_are_not_understood_is_not_checkable(self, account: Account) -> None:
        document = json.loads(seed.document("artifact-bucket-policy.json"))
        document["Statement"][0]["Condition"]["NumericLessThan"] = {"s3:max-keys": "5"}
        account.kit.client("s3").put_bucket_policy(Bucket=seed.BUCKET, Policy=json.dumps(document))
        found = [item for item in account.look(storage.bucket) if "written once" in item.text]
        assert states(found) == [findings.UNKNOWN] and "NumericLessThan" in found[0].text


def test_tls_is_demanded_where_the_endpoint_speaks_it() -> None:
    document = json.loads(seed.document("artifact-bucket-policy.json"))
    with_tls = copy.deepcopy(document)
    with_tls["Statement"].append(json.loads(seed.document("artifact-bucket-tls-statement.json")))
    call, wanted = next((call, wanted) for text, call, wanted in storage._demands(seed.BUCKET, ACCOUNT, "aws")
                        if "TLS" in text)
    assert wanted and policies.decide(policies.parse(with_tls), call) == "deny"
    assert policies.decide(policies.parse(document), call) == "nothing"


@pytest.mark.parametrize("name", ["artifact-bucket-policy.json", "analysis-host-boundary.json",
                                  "analysis-host-policy.json"])
def test_policies_are_read_as_the_lab_decides_them(name: str) -> None:
    """Two readers of the same language, made apart: where one is wrong they differ."""
    document = json.loads(seed.document(name).replace("ARTIFACT_PREFIX", "INC-0/snap-0/"))
    objects = f"arn:aws:s3:::{seed.BUCKET}/"
    calls = [call for _text, call, _wanted in storage._demands(seed.BUCKET, ACCOUNT, "aws")]
    actions = ("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload")
    calls += [policies.Call(action, f"{objects}{key}") for action in actions
              for key in ("INC-0/snap-0/x", "requests/x", "toolbox/x")]
    answers = set()
    for call in calls:
        need = lab_policy.Need(call.action, call.resource, {key: [value] for key, value in call.context.items()})
        parsed = lab_policy.parse(json.dumps(document))
        # A resource policy names principals, an identity policy does not.
        caller = [call.context.get("aws:principalarn", "")]
        whom: Any = {"principals": caller, "account": ACCOUNT} if "bucket" in name else {}
        theirs = ("deny" if lab_policy.says([parsed], need, "Deny", **whom) else
                  "allow" if lab_policy.says([parsed], need, "Allow", **whom) else "nothing")
        ours = policies.decide(policies.parse(document), call)
        assert ours == theirs, call
        answers.add(ours)
    assert len(answers) > 1, "the calls tell the statements apart"


class TestArchive:
    def test_an_archive_in_the_bucket(self, account: Account) -> None:
        given = {"toolbox_image": "r.example.org/tools:1", "toolbox_archive": "toolbox/tools.tar"}
        missing(account.look(outside.toolbox, **given), "the bucket has no toolbox/tools.tar")
        account.kit.client("s3").put_object(Bucket=seed.BUCKET, Key="toolbox/tools.tar", Body=b"x", IfNoneMatch="*")
        assert states(account.look(outside.toolbox, **given)) == [findings.OK]
