# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where keys come from, asked through the roles with the rights of docs/iam: each source brings the key that lets its
owner in, and what is missing, forbidden or no good key is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.modules import analyst_key_info

from lab.aws.account import CONTROLLER
from lab.config import ACCOUNT
from tests.kit import CHECKOUT, tool_environment
from tests.unit.lab.aws_kit import REGION, Kit

HOSTILE = 'command="curl evil",no-pty'
PLAY = """
- hosts: localhost
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}", ansible_connection: local}
  module_defaults:
    group/dfir.aws.aws: "{{ dfir_aws_module_defaults }}"
  tasks:
    - ansible.builtin.include_tasks: {file: one.yml}
      loop: "{{ cases }}"
      loop_control: {loop_var: case, label: "{{ case.name }}"}
"""
ANALYST = """
- block:
    - ansible.builtin.include_role: {name: dfir.aws.analyst_access, tasks_from: lookup}
      vars:
        analyst_access_analyst: {uid: "{{ case.uid }}", public_key: "{{ case.public_key }}"}
        analyst_access_region: eu-west-1
    - ansible.builtin.copy:
        {content: "{{ analyst_access_key_result | to_json }}", dest: "{{ out }}/{{ case.name }}.json", mode: "0600"}
  rescue:
    - ansible.builtin.copy:
        content: "{{ ansible_failed_result | dfir.aws.problem | to_json }}"
        dest: "{{ out }}/{{ case.name }}.json"
        mode: "0600"
"""
# As playbooks/analyze_request.yml asks for it, with the look-ups of the inventories.
CONTROLLERS = """
- block:
    - ansible.builtin.include_role: {name: dfir.aws.analysis_host, tasks_from: controller_key}
      vars:
        dfir_aws_controller_key_secret: "{{ case.secret | default('') }}"
        dfir_aws_controller_key_parameter: "{{ case.parameter | default('') }}"
        analysis_host_private_key: "{{ dfir_aws_controller_private_key }}"
        analysis_host_controller_public_key: "{{ public_half }}"
    - ansible.builtin.copy:
        {content: "{{ analysis_host_key_result | to_json }}", dest: "{{ out }}/{{ case.name }}.json", mode: "0600"}
  rescue:
    - ansible.builtin.copy:
        content: "{{ ansible_failed_result | dfir.aws.problem | to_json }}"
        dest: "{{ out }}/{{ case.name }}.json"
        mode: "0600"
"""


def make(folder: Path, name: str, *options: str) -> Path:
    """A key pair; the path of its private half."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "a comment", "-f", path, *(options or ("-t", "ed25519"))],
                   check=True, stdin=subprocess.DEVNULL)
    return path


def public(path: Path) -> str:
    return path.with_suffix(".pub").read_text()


class Site:
    """An account with the controller's rights as docs/iam has them, and a playbook over a list of cases."""

    def __init__(self, kit: Kit, folder: Path) -> None:
        self.kit, self.folder, self.out = kit, folder, folder / "out"
        self.out.mkdir()
        policy = (CHECKOUT / "docs/iam/controller-policy.json").read_text()
        for placeholder, value in (("ACCOUNT_ID", ACCOUNT), ("ARTIFACT_BUCKET", "b"), ("ANALYSIS_REGION", REGION)):
            policy = policy.replace(placeholder, value)
        kit.client("iam").put_user_policy(UserName=CONTROLLER[0], PolicyName="p",
                                          PolicyDocument=json.dumps(json.loads(policy)))

    def play(self, tasks: str, cases: list[dict[str, Any]], *options: str, **more: Any) -> tuple[dict[str, Any], str]:
        """What became of each case, by its name, and the run's output."""
        settings = yaml.safe_load((CHECKOUT / "inventories/lab/group_vars/all.yml").read_text())
        lookup = settings["dfir_aws_controller_private_key"]
        keys = {"endpoint_url": self.kit.endpoint, "access_key": CONTROLLER[1], "secret_key": CONTROLLER[2]}
        variables = {"cases": cases, "out": str(self.out), "dfir_aws_module_defaults": keys,
                     "dfir_aws_artifact_bucket_region": REGION, "dfir_aws_controller_private_key": lookup, **more}
        (self.folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"localhost": variables}}}))
        (self.folder / "play.yml").write_text(PLAY)
        (self.folder / "one.yml").write_text(tasks)
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.folder / "hosts.json"),
             str(self.folder / "play.yml"), *options], cwd=CHECKOUT, env=tool_environment(), text=True, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, done.stdout[-6000:]
        names = [case["name"] for case in cases]
        return {name: json.loads((self.out / f"{name}.json").read_text()) for name in names}, done.stdout

    def ask(self, uid: str, where: dict[str, str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """What the module says of one key, asked with the controller's rights."""
        capsys.readouterr()
        with patch_module_args({"endpoint_url": self.kit.endpoint, "access_key": CONTROLLER[1], "analyst": uid,
                                "secret_key": CONTROLLER[2], "region": REGION, **where}), pytest.raises(SystemExit):
            analyst_key_info.main()
        return dict(json.loads(capsys.readouterr().out))


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"))
    yield kit
    kit.close()


@pytest.fixture
def site(kit: Kit, tmp_path: Path) -> Site:
    return Site(kit, tmp_path)


def signs_in(private: Path, line: str, folder: Path) -> bool:
    """Whether a line for authorized_keys lets the owner of a private key in: OpenSSH's own check of a signature."""
    (folder / "allowed").write_text(f"owner {' '.join(line.split()[:2])}\n")
    signed = subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "login", "-f", private], input=b"challenge",
                            capture_output=True, check=True).stdout
    (folder / "signature").write_bytes(signed)
    return subprocess.run(["ssh-keygen", "-q", "-Y", "verify", "-n", "login", "-I", "owner", "-f", folder / "allowed",
                           "-s", folder / "signature"], input=b"challenge", capture_output=True, check=False
                          ).returncode == 0


def test_each_of_the_four_sources_brings_the_analysts_own_key(site: Site, tmp_path: Path) -> None:
    ssm, secrets, iam = (site.kit.client(name) for name in ("ssm", "secretsmanager", "iam"))
    keys = {name: make(tmp_path, name) for name in ("registry", "ssm", "secure", "secretsmanager")}
    keys["iam"] = make(tmp_path, "iam", "-t", "rsa", "-b", "2048")  # all that IAM takes
    keys["elsewhere"] = make(tmp_path, "elsewhere", "-t", "ecdsa", "-b", "384")
    ssm.put_parameter(Name="/dfir/analysts/ana/public_key", Value=public(keys["ssm"]), Type="String")
    ssm.put_parameter(Name="/dfir/analysts/sec/public_key", Value=public(keys["secure"]), Type="SecureString")
    site.kit.client("ssm", "us-east-1").put_parameter(Name="/dfir/analysts/far/public_key", Type="String",
                                                      Value=public(keys["elsewhere"]))
    secrets.create_secret(Name="dfir/ana", SecretString=public(keys["secretsmanager"]))
    iam.create_user(UserName="ana")
    old = iam.upload_ssh_public_key(UserName="ana", SSHPublicKeyBody=public(make(tmp_path, "old", "-t", "rsa")))
    iam.update_ssh_public_key(UserName="ana", SSHPublicKeyId=old["SSHPublicKey"]["SSHPublicKeyId"], Status="Inactive")
    iam.upload_ssh_public_key(UserName="ana", SSHPublicKeyBody=public(keys["iam"]))
    sources: dict[str, dict[str, str]] = {
        "registry": {"source": "registry", "value": public(keys["registry"])},
        "ssm": {"source": "ssm", "name": "/dfir/analysts/ana/public_key"},
        "secure": {"source": "ssm", "name": "/dfir/analysts/sec/public_key"},
        "elsewhere": {"source": "ssm", "name": "/dfir/analysts/far/public_key", "region": "us-east-1"},
        "secretsmanager": {"source": "secretsmanager", "name": "dfir/ana"},
        "iam": {"source": "iam", "name": "ana"},
    }
    found, said = site.play(ANALYST, [{"name": name, "uid": "ana", "public_key": where}
                                      for name, where in sources.items()])
    for name, key in keys.items():
        assert found[name]["key"].split()[:2] == public(key).split()[:2], (name, said)
        assert found[name]["key"].split()[2:] == ["ana"] and found[name]["uid"] == "ana"
        assert signs_in(key, found[name]["key"], tmp_path), name
    assert not signs_in(keys["ssm"], found["registry"]["key"], tmp_path)


def test_p43_a_bad_or_missing_key_of_an_analyst_is_one_sentence(site: Site, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    ssm, iam = site.kit.client("ssm"), site.kit.client("iam")
    good, private = public(make(tmp_path, "good")), (tmp_path / "good").read_text()
    iam.create_user(UserName="bare")
    ssm.put_parameter(Name="/elsewhere/key", Value=good, Type="String")
    site.kit.client("secretsmanager").create_secret(Name="theirs/key", SecretString=good)
    site.kit.client("secretsmanager").create_secret(Name="dfir/binary", SecretBinary=b"\x00\x01")
    pasted = {
        "private": (private, "This is a private key: store the public one"),
        "short": (public(make(tmp_path, "short", "-t", "rsa", "-b", "1024")), "is RSA with 1024 bits: it needs 2048."),
        "dsa": ("ssh-dss AAAAB3NzaC1kc3MAAACBAA==", "must start with its type, without options before it"),
        "two": (good + good, "must be one single line"),
        "options": (f"{HOSTILE} {good}", "without options before it"),
        "words": ("ask me by phone", "must start with its type"),
        "cut": (good[:60], "is cut off"),
    }
    cases: list[tuple[str, dict[str, str], str]] = []
    for name, (text, words) in pasted.items():
        ssm.put_parameter(Name=f"/dfir/analysts/{name}/public_key", Value=text, Type="String")
        cases += [(f"{name}-ssm", {"source": "ssm", "name": f"/dfir/analysts/{name}/public_key"}, words),
                  (f"{name}-registry", {"source": "registry", "value": text}, words)]
    cases += [
        ("no-parameter", {"source": "ssm", "name": "/dfir/analysts/nobody/public_key"}, "does not exist"),
        ("no-secret", {"source": "secretsmanager", "name": "dfir/nobody"}, "does not exist"),
        ("no-user", {"source": "iam", "name": "nobody"}, "does not exist"),
        ("no-iam-key", {"source": "iam", "name": "bare"}, "has no active SSH public key."),
        ("binary", {"source": "secretsmanager", "name": "dfir/binary"}, "is empty"),
        ("foreign-parameter", {"source": "ssm", "name": "/elsewhere/key"}, "may not be read"),
        ("foreign-secret", {"source": "secretsmanager", "name": "theirs/key"}, "may not be read"),
        ("no-name", {"source": "ssm"}, "has no name: complete public_key in the registry of analysts."),
        ("no-source", {"source": "ldap", "name": "ana"}, "value of source must be one of"),
    ]
    secret = private.splitlines()[2]
    for name, where, words in cases:
        told = site.ask("ana", where, capsys)
        message = told["msg"]
        assert told["failed"] and words in message, (name, told)
        assert "\n" not in message and "Traceback" not in message
        place = "the registry" if where["source"] == "registry" else where["source"]
        assert message.startswith(f"The SSH public key of ana from {place}") or name == "no-source", message
        # A private key that was pasted by mistake gets no further than the place where it is.
        assert secret not in message
    told, said = site.play(ANALYST, [{"name": name, "uid": "ana", "public_key": where} for name, where, _ in cases[:1]])
    assert told["private-ssm"]["message"].endswith("and replace the private one.") and secret not in said


def test_the_controllers_key_from_a_secret_or_a_parameter_fits_its_public_half(site: Site, tmp_path: Path) -> None:
    ssm, secrets = site.kit.client("ssm"), site.kit.client("secretsmanager")
    key, other = make(tmp_path, "controller"), make(tmp_path, "other")
    secrets.create_secret(Name="dfir/controller", SecretString=key.read_text())
    secrets.create_secret(Name="dfir/other", SecretString=other.read_text())
    secrets.create_secret(Name="theirs/controller", SecretString=key.read_text())
    ssm.put_parameter(Name="/dfir/controller", Value=key.read_text(), Type="SecureString")
    ssm.put_parameter(Name="/dfir/public", Value=public(key), Type="String")
    ssm.put_parameter(Name="/theirs/controller", Value=key.read_text(), Type="SecureString")
    bad = {
        "other": ({"secret": "dfir/other"}, "is not the one whose public half is in dfir_aws_controller_public_key"),
        "public": ({"parameter": "/dfir/public"}, "must be an OpenSSH private key without a passphrase"),
        "no-secret": ({"secret": "dfir/nothing"}, "A look-up failed: Failed to find secret dfir/nothing"),
        "no-parameter": ({"parameter": "/dfir/nothing"}, "Failed to find SSM parameter /dfir/nothing"),
        "foreign-secret": ({"secret": "theirs/controller"}, "Failed to access secret theirs/controller"),
        "foreign-parameter": ({"parameter": "/theirs/controller"}, "Failed to access SSM parameter /theirs/controller"),
    }
    good = {"secret": {"secret": "dfir/controller"}, "parameter": {"parameter": "/dfir/controller"}}
    found, said = site.play(CONTROLLERS, [{"name": name, **where} for name, where in good.items()]
                            + [{"name": name, **where} for name, (where, _) in bad.items()], "-vvv",
                            public_half=public(key))
    for name in good:
        file = Path(found[name]["file"])
        assert signs_in(file, public(key), tmp_path) and file.stat().st_mode & 0o077 == 0
        file.unlink()
        file.parent.rmdir()
    for name, (_, words) in bad.items():
        assert words in found[name]["message"] and "Traceback" not in found[name]["message"], (name, found[name])
    for text in (key.read_text(), other.read_text()):
        assert text.splitlines()[2] not in said
