# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that may get into an analysis host, and keys that may not."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils import ssh_key
from ansible_collections.dfir.aws.plugins.module_utils.ssh_key import KeyRefused
from ansible_collections.dfir.aws.plugins.modules import analyst_key_info

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen to make real keys")


def make(folder: Path, *options: str) -> str:
    path = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "her own comment", "-f", path, *options], check=True)
    return path.with_suffix(".pub").read_text()


def wire(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def line(kind: str, *parts: bytes) -> str:
    return f"{kind} {base64.b64encode(wire(kind.encode(), *parts)).decode()}"


@pytest.fixture(scope="module")
def ed25519(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("key"), "-t", "ed25519")


@pytest.mark.parametrize(
    ("options", "kind", "bits"),
    [
        (["-t", "ed25519"], "ssh-ed25519", 256),
        (["-t", "ecdsa", "-b", "256"], "ecdsa-sha2-nistp256", 256),
        (["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521", 521),
        (["-t", "rsa", "-b", "2048"], "ssh-rsa", 2048),
    ],
)
def test_real_keys_are_read_as_ssh_keygen_reads_them(tmp_path: Path, options: list[str], kind: str, bits: int) -> None:
    text = make(tmp_path, *options)
    key = ssh_key.parse(text, comment="alice")
    assert (key.type, key.bits) == (kind, bits)
    assert key.line == " ".join([*text.split()[:2], "alice"])
    said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], check=True, capture_output=True, text=True)
    assert said.stdout.split()[1] == key.fingerprint


def test_a_short_rsa_key_is_refused_with_its_size(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="1024 bits"):
        ssh_key.parse(make(tmp_path, "-t", "rsa", "-b", "1024"))


def test_security_keys_are_taken_when_made_for_ssh() -> None:
    kind = "sk-ssh-ed25519@openssh.com"
    assert ssh_key.parse(line(kind, b"k" * 32, b"ssh:")).type == kind
    with pytest.raises(KeyRefused, match="application"):
        ssh_key.parse(line(kind, b"k" * 32, b"web"))


def test_options_before_a_key_are_refused(ed25519: str) -> None:
    for options in ('command="id" ', "no-pty ", 'from="*",cert-authority '):
        with pytest.raises(KeyRefused, match="without options"):
            ssh_key.parse(options + ed25519)


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r", "\x0b", "\x00", "\u2028"])
def test_p43_a_second_line_is_refused(ed25519: str, separator: str) -> None:
    with pytest.raises(KeyRefused, match="single line"):
        ssh_key.parse(ed25519.strip() + separator + ed25519.strip())


def test_a_private_key_is_refused_and_not_repeated(tmp_path: Path) -> None:
    make(tmp_path, "-t", "ed25519")
    private = (tmp_path / "key").read_text()
    with pytest.raises(KeyRefused, match="This is a private key") as refusal:
        ssh_key.parse(private)
    assert private.splitlines()[1] not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "ssh-ed25519",
        "ssh-ed25519 !!!!",
        "ssh-dss AAAAB3NzaC1kc3MAAACBAA==",
        "ssh-ed25519-cert-v01@openssh.com AAAA",
        line("ssh-ed25519", b"k" * 31),
        line("ssh-ed25519", b"k" * 32, b"more"),
        line("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"k" * 64),
        line("ecdsa-sha2-nistp256", b"nistp256", b"\x02" + b"k" * 32),
        line("ssh-rsa", b"\x02", b"\x00" + b"\xff" * 256),
        line("ssh-rsa", b"\x01\x00\x01", b"\xff" * 256),
        "ssh-rsa " + line("ssh-ed25519", b"k" * 32).split()[1],
        "ssh-ed25519 " + base64.b64encode(wire(b"ssh-ed25519") + b"\xff\xff\xff\xff").decode(),
    ],
)
def test_what_is_no_strong_well_formed_key_is_refused(text: str) -> None:
    with pytest.raises(KeyRefused):
        ssh_key.parse(text)


def test_the_comment_is_ours_and_harmless(ed25519: str) -> None:
    assert ssh_key.parse(ed25519, comment="a b\nssh-rsa").line.split()[2:] == ["abssh-rsa"]
    assert len(ssh_key.parse(ed25519).line.split()) == 2


class Module:
    """What the sources ask of AnsibleAWSModule, with real clients."""

    def __init__(self, aws: object) -> None:
        self.client = aws


def test_every_source_gives_the_key(aws, ed25519: str, tmp_path: Path) -> None:
    module = Module(aws)
    aws("ssm").put_parameter(Name="/dfir/analysts/zoe/public_key", Value=ed25519, Type="String", Overwrite=True)
    assert analyst_key_info.from_ssm(module, "/dfir/analysts/zoe/public_key") == ed25519
    aws("secretsmanager").create_secret(Name="dfir/zoe", SecretString=ed25519)
    assert analyst_key_info.from_secretsmanager(module, "dfir/zoe") == ed25519
    aws("iam").create_user(UserName="zoe")
    with pytest.raises(KeyRefused, match="no active"):
        analyst_key_info.from_iam(module, "zoe")
    rsa = make(tmp_path, "-t", "rsa", "-b", "2048")
    aws("iam").upload_ssh_public_key(UserName="zoe", SSHPublicKeyBody=rsa)
    assert analyst_key_info.from_iam(module, "zoe").split()[:2] == rsa.split()[:2]
