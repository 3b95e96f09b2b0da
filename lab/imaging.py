# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that image snapshots, as somebody keeps them in an inventory of their own.

    python -m lab.imaging up [--count 3]   launches imaging-1 ..., and writes <state>/imaging/hosts.yml
    python -m lab.imaging down             ends them

Their instance profile holds docs/iam/imaging-host-policy.json and nothing else.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import suppress
from typing import Any

from . import seed
from .bastion import PARAMETER, end_hosts, host_keys
from .config import CONTROLLER_IP, PACKAGES_PORT, SERVICE_IP, LabConfig, load

NAME = "lab-imaging"
POLICY = "imaging-host-policy.json"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})


def _user_data(config: LabConfig) -> str:
    key = (config.keys / "controller.pub").read_text().strip()
    source = f"deb [trusted=yes] http://{SERVICE_IP}:{PACKAGES_PORT}/debian ./"
    return (f"#cloud-config\nusers:\n  - name: imaging\n    shell: /bin/sh\n    sudo: ALL=(ALL) NOPASSWD:ALL\n"
            f"    ssh_authorized_keys:\n      - {key}\nwrite_files:\n  - path: /etc/apt/sources.list.d/lab.list\n"
            f"    content: |\n      {source}\n")


def profile(config: LabConfig, name: str = NAME, policy: str | None = None) -> str:
    """The hosts' instance profile; its name."""
    iam = seed.client(config, "iam")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy or seed.document(POLICY))
    return name


def _group(ec2: Any, network: str) -> str:
    found = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [NAME]}])["SecurityGroups"]
    if found:
        return str(found[0]["GroupId"])
    group = str(ec2.create_security_group(GroupName=NAME, Description="Imaging hosts", VpcId=network)["GroupId"])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": f"{CONTROLLER_IP}/32"}]}])
    return group


def up(config: LabConfig, count: int = 3, *, with_profile: bool = True) -> dict[str, str]:
    """Launch them; instance ids by name."""
    ec2, ssm = seed.client(config, "ec2"), seed.client(config, "ssm")
    subnet = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["dfir-analysis"]}])["Subnets"][0]
    more: dict[str, Any] = {"IamInstanceProfile": {"Name": profile(config)}} if with_profile else {}
    launched = ec2.run_instances(
        ImageId=ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"], InstanceType="t3.small", MinCount=count,
        MaxCount=count, SubnetId=subnet["SubnetId"], SecurityGroupIds=[_group(ec2, subnet["VpcId"])],
        UserData=_user_data(config),
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": NAME}]}], **more)["Instances"]
    folder = config.state / "imaging"
    folder.mkdir(exist_ok=True)
    hosts, known, found = {}, "", {}
    for number, instance in enumerate(launched, 1):
        name, address = f"imaging-{number}", str(instance["PrivateIpAddress"])
        found[name] = str(instance["InstanceId"])
        known += "".join(f"{address} {key}\n" for key in host_keys(ec2, instance["InstanceId"]))
        hosts[name] = {"ansible_host": address, "dfir_lab_imaging_known_hosts": f"{folder}/known_hosts"}
    (folder / "known_hosts").write_text(known)
    # JSON is YAML, too.
    (folder / "hosts.yml").write_text(json.dumps({"imaging_hosts": {"hosts": hosts}}, indent=1) + "\n")
    return found


def down(config: LabConfig) -> None:
    """End them, and forget them."""
    ec2, iam = seed.client(config, "ec2"), seed.client(config, "iam")
    end_hosts(ec2, NAME)
    with suppress(iam.exceptions.NoSuchEntityException):
        iam.remove_role_from_instance_profile(InstanceProfileName=NAME, RoleName=NAME)
        iam.delete_instance_profile(InstanceProfileName=NAME)
        iam.delete_role_policy(RoleName=NAME, PolicyName=NAME)
        iam.delete_role(RoleName=NAME)
    shutil.rmtree(config.state / "imaging", ignore_errors=True)


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m lab.imaging", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--count", type=int, default=3, help="how many (default 3)")
    options, config = parser.parse_args(), load()
    if options.action == "down":
        down(config)
    else:
        found = up(config, options.count)
        print(f"lab: {', '.join(f'{name} ({instance})' for name, instance in found.items())}; "
              f"ansible-playbook -i inventories/lab -i {config.state}/imaging/hosts.yml ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
