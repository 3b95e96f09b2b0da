# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A jump host in the lab's subnet, to try `dfir_aws_ssh_via: proxyjump`.

    python -m lab.bastion up      launches it, and writes <state>/bastion/config (for ssh -F) and .../address
    python -m lab.bastion down    ends it

In the config, `bastion` is the way of the controller and `bastion-analyst` that of the analyst.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from . import seed
from .config import ANALYST_IP, CHECKOUT, CONTROLLER_IP, LabConfig, load

NAME = "lab-bastion"
PARAMETER = "/aws/service/debian/release/12/latest/amd64"
PEOPLE = {"bastion": "controller", "bastion-analyst": "analyst"}
PATIENCE = 60  # seconds until the console shows the host's keys


def _user_data(config: LabConfig) -> str:
    keys = "\n".join(f"      - {(config.keys / f'{person}.pub').read_text().strip()}" for person in PEOPLE.values())
    return f"#cloud-config\nusers:\n  - name: jump\n    shell: /bin/sh\n    ssh_authorized_keys:\n{keys}\n"


def host_keys(ec2: Any, instance: str) -> list[str]:
    """The host's keys, from its console."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        output = str(ec2.get_console_output(InstanceId=instance, Latest=True).get("Output") or "")
        keys = output.partition("-----BEGIN SSH HOST KEY KEYS-----")[2].partition("-----END")[0]
        if keys.strip():
            return [" ".join(line.split()[:2]) for line in keys.splitlines() if line.strip()]
        time.sleep(0.3)
    raise SystemExit(f"{instance} shows no SSH host keys after {PATIENCE} s.")


def up(config: LabConfig) -> str:
    """Launch it; its address."""
    ec2, ssm = seed.client(config, "ec2"), seed.client(config, "ssm")
    subnet = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["dfir-analysis"]}])["Subnets"][0]
    group = ec2.create_security_group(GroupName=NAME, Description="A jump host", VpcId=subnet["VpcId"])["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
         "IpRanges": [{"CidrIp": f"{address}/32"} for address in (CONTROLLER_IP, ANALYST_IP)]}])
    instance = ec2.run_instances(
        ImageId=ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"], InstanceType="t3.micro", MinCount=1,
        MaxCount=1, SubnetId=subnet["SubnetId"], SecurityGroupIds=[group], UserData=_user_data(config),
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": NAME}]}])["Instances"][0]
    address = str(instance["PrivateIpAddress"])
    folder = config.state / "bastion"
    folder.mkdir(exist_ok=True)
    (folder / "known_hosts").write_text(
        "".join(f"{name} {key}\n" for key in host_keys(ec2, instance["InstanceId"]) for name in PEOPLE))
    (folder / "config").write_text("".join(_entry(config, name, person, address) for name, person in PEOPLE.items()))
    (folder / "address").write_text(address)
    return address


def _entry(config: LabConfig, name: str, person: str, address: str) -> str:
    relay = f"{sys.executable} -I {CHECKOUT}/lab/network/relay_client.py {config.relay(person)} %h %p"
    return (f"Host {name}\n  HostName {address}\n  HostKeyAlias {name}\n  User jump\n  IdentitiesOnly yes\n"
            f"  IdentityFile {config.keys / person}\n  StrictHostKeyChecking yes\n"
            f"  UserKnownHostsFile {config.state}/bastion/known_hosts\n  ProxyCommand {relay}\n")


def end_hosts(ec2: Any, name: str) -> None:
    """End the instances of a name, and remove their security group."""
    found = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": [name]}])["Reservations"]
    alive = [item["InstanceId"] for entry in found for item in entry["Instances"]
             if item["State"]["Name"] != "terminated"]
    if alive:
        ec2.terminate_instances(InstanceIds=alive)
        waiter = ec2.get_waiter("instance_terminated")
        waiter.config.delay = 1
        waiter.wait(InstanceIds=alive)
    for group in ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]:
        ec2.delete_security_group(GroupId=group["GroupId"])


def down(config: LabConfig) -> None:
    """End it, and forget it."""
    ec2 = seed.client(config, "ec2")
    end_hosts(ec2, NAME)
    shutil.rmtree(Path(config.state) / "bastion", ignore_errors=True)


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m lab.bastion", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down"))
    config = load()
    if parser.parse_args().action == "down":
        down(config)
    else:
        print(f"lab: a jump host at {up(config)}; ssh -F {config.state}/bastion/config")
    return 0


if __name__ == "__main__":
    sys.exit(main())
