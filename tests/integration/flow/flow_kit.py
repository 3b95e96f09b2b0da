# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the whole flow share: requests as a user makes them, faults, what a request left, what its mail says.

A test of a fault proves three things: what the user sees is one sentence, the alert names exactly what exists, and the
commands in the alert remove exactly that.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore import xform_name

from lab import audit
from lab.cli_client import ask
from lab.config import ACCOUNT, LabConfig
from lab.faults.registry import Registry
from lab.mail.reader import Mail, list_mails
from tests.kit import CHECKOUT, tool_environment

BUCKET = f"dfir-artifacts-{ACCOUNT}"
HOME = "eu-west-1"  # where requests are analyzed
AWAY = "us-east-1"  # where their snapshots lie
BLOCK = 524_288
PATIENCE = 240.0  # for what the lab or a host does by itself
SILENCE = 180.0  # no run is slow as long as it speaks, which it promises to do every 10 s; a busy machine takes longer
Futures = dict[Callable[..., None], "Future[None]"]
VALID = yaml.safe_load((CHECKOUT / "examples" / "manual.yml").read_text())


def flat(text: str) -> str:
    """Output without the places where it was folded, and without YAML's doubled quotes."""
    return " ".join(text.replace("''", "'").split())


def until(ready: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for something; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


class Play:
    """One run of ansible-playbook, to be read while it goes on, and to be killed."""

    def __init__(self, variables: Mapping[str, Any], folder: Path, overlay: Mapping[str, Any] | None = None,
                 silence: float = SILENCE) -> None:
        name = uuid.uuid4().hex[:8]
        request = folder / f"{name}.json"
        request.write_text(json.dumps(variables))
        command = ["ansible-playbook", "-i", "inventories/lab", "playbooks/analyze_request.yml", "-e", f"@{request}"]
        if overlay:
            inventory = folder / f"{name}-inventory.yml"
            inventory.write_text(json.dumps(overlay))
            command[3:3] = ["-i", str(inventory)]
        self._process = subprocess.Popen(command, cwd=CHECKOUT, env=tool_environment(), stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         start_new_session=True)
        self._lines: list[str] = []
        self._silence = silence
        self._log = folder / f"{name}-{variables['incident']}.log"  # stays when a test fails: what came when
        self._spoke = time.monotonic()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.pid = self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("w") as log:
            for line in iter(self._process.stdout.readline, ""):
                self._lines.append(line)
                self._spoke = time.monotonic()
                print(time.strftime("%H:%M:%S"), line, end="", file=log, flush=True)

    @property
    def text(self) -> str:
        return "".join(self._lines)

    @property
    def flat(self) -> str:
        return flat(self.text)

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def wait(self, ready: Callable[[], Any]) -> None:
        """Wait until something holds or the run ends, for as long as it goes on and speaks."""
        while self.code is None and not ready():
            if time.monotonic() - self._spoke > self._silence:
                self.kill()
                raise AssertionError(f"the run said nothing for {self._silence:.0f} s:\n{self.text[-3000:]}")
            time.sleep(0.1)

    def until(self, words: str) -> None:
        """Wait for words in the output."""
        self.wait(lambda: words in self.text)
        if self.code is not None:
            self._reader.join(5)
        assert words in self.text, self.text[-3000:]

    def end(self) -> Play:
        """Wait for its end."""
        self.wait(lambda: False)
        self._reader.join(5)
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No further task is begun meanwhile; what a task does on a host goes on."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As the platform cancels a job, and as a machine dies: kill -9, whoever belongs to it."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(30)
        self._reader.join(5)

    @property
    def sentence(self) -> str:
        """The last thing that the user is told: the message of the task that failed last."""
        found = re.findall(r"fatal: \[[^]]+\]: (?:FAILED|UNREACHABLE)! => ?\n(.*?)\n\n", self.text, re.DOTALL)
        assert found, self.text[-3000:]
        message = re.search(r"^ {4}msg: (.*?)(?=\n {4}\w|\Z)", found[-1], re.DOTALL | re.MULTILINE)
        assert message, found[-1]
        return flat(message[1]).strip("'\"")


@dataclass
class Named:
    """One thing that an alert names."""

    kind: str
    id: str
    commands: list[str] = field(default_factory=list)


@dataclass
class Request:
    """A request of a test: its fields, and what became of it."""

    lab: LabConfig
    folder: Path
    fields: dict[str, Any]
    overlay: dict[str, Any] | None = None
    _id: str = ""

    @property
    def incident(self) -> str:
        return str(self.fields["incident"])

    def start(self, *, silence: float = SILENCE, **changes: Any) -> Play:
        """Send it in, as a user at a shell."""
        return Play(self.fields | changes, self.folder, self.overlay, silence)

    def run(self, **changes: Any) -> Play:
        return self.start(**changes).end()

    @property
    def record(self) -> dict[str, Any]:
        """Its record in the bucket; empty when there is none."""
        s3 = client(self.lab, "s3")
        if self._id:
            return dict(json.loads(s3.get_object(Bucket=BUCKET, Key=f"requests/{self._id}.json")["Body"].read()))
        for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="requests/", Delimiter="/").get("Contents", []):
            record = json.loads(s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read())
            asked = record["request"]
            if (asked["incident"], asked.get("attempt"), asked.get("mode")) == (
                    self.incident, self.fields.get("attempt", 1), self.fields["forensics_mode"]):
                self._id = str(record["request_id"])
                return dict(record)
        return {}

    @property
    def id(self) -> str:
        return self._id or str(self.record["request_id"])

    @property
    def mails(self) -> list[Mail]:
        return [mail for mail in list_mails(self.lab.mails) if f"[{self.incident}]" in mail.subject]

    def exists(self) -> set[tuple[str, str]]:
        """What the account holds of this request, asked by the audit that demo and tests share."""
        request_id = self.id
        return {(thing.kind, thing.id) for thing in audit.account(self.lab)
                if (thing.tags.get("dfir:request") == request_id or request_id in thing.id)
                and not thing.id.startswith("s3://")}


def client(lab: LabConfig, service: str, region: str = HOME) -> Any:
    """The lab's administrator."""
    return audit.client(lab, service, region)


def named(mail: Mail) -> list[Named]:
    """What an alert says that exists, and how to remove it, in its order."""
    exists = mail.text.partition("WHAT EXISTS NOW")[2].partition("\nNEXT")[0]
    found: list[Named] = []
    for line in exists.replace("\\\n", " ").splitlines():
        entry = re.fullmatch(r"  ([a-z-]+) (\S+) \([a-z0-9-]+\).*", line)
        if entry:
            found.append(Named(entry[1], entry[2]))
        elif line.startswith("    aws "):
            found[-1].commands.append(line.strip())
    return found


def follow(lab: LabConfig, command: str) -> None:
    """Do what an AWS CLI command does: the CLI itself maps words to API parameters like this."""
    words = shlex.split(command)
    assert words.pop(0) == "aws", command
    service, words = words[0], words[1:]
    waiting = words[0] == "wait"
    operation, words = (words[1], words[2:]) if waiting else (words[0], words[1:])
    options = dict(zip(words[::2], words[1::2], strict=True))
    api = client(lab, service, options.pop("--region", HOME))
    if waiting:
        waiter = api.get_waiter(operation.replace("-", "_"))
        waiter.config.delay = 1
        operation = {"instance-terminated": "describe-instances"}[operation]
    model = api.meta.service_model.operation_model(
        next(name for name in api.meta.service_model.operation_names if xform_name(name, "-") == operation))
    members = {f"--{xform_name(name, '-')}": (name, shape.type_name)
               for name, shape in model.input_shape.members.items()}
    arguments = {members[option][0]: [value] if members[option][1] == "list" else value
                 for option, value in options.items()}
    if waiting:
        waiter.wait(**arguments)
    else:
        getattr(api, operation.replace("-", "_"))(**arguments)


def check_alert(request: Request, play: Play, step: str, *words: str) -> list[Named]:
    """What holds for every failure: exit code, one sentence, no trace, one alert that names exactly what exists."""
    assert play.code not in (0, None), play.text[-3000:]
    assert "Traceback" not in play.text and "unexpected" not in play.text.lower(), play.text[-5000:]
    sentence = play.sentence
    assert sentence.startswith(f"Request {request.id} failed at the step {step}: "), sentence
    mail = request.mails[-1]
    assert f"FAILED at {step}" in mail.subject
    body = flat(mail.text)
    for word in words:
        assert word in sentence, (word, sentence)
        assert word in body, (word, mail.text)
    things = named(mail)
    # A role is taken out of its profile by a command of its own: no thing, as the audit sees it.
    told = {(thing.kind, thing.id) for thing in things if thing.kind != "role-in-profile"}
    assert told == request.exists()
    assert f"{len(things)} to remove" in mail.subject if things else "nothing left" in mail.subject
    assert request.record["lease"] is None
    return things


def remove(request: Request, things: list[Named]) -> None:
    """Remove what an alert names by what it says, word for word."""
    for thing in things:
        for command in thing.commands:
            follow(request.lab, command)
    assert request.exists() == set()


def source(lab: LabConfig, *, complete: bool = True, content: bytes = b"evidence") -> str:
    """A small snapshot in another region, one that no other test uses."""
    ebs = client(lab, "ebs", AWAY)
    made = ebs.start_snapshot(VolumeSize=1, ClientToken=uuid.uuid4().hex)["SnapshotId"]
    blocks = {at // BLOCK: data.ljust(BLOCK, b"\0") for at in range(0, len(content), BLOCK)
              if (data := content[at : at + BLOCK]).strip(b"\0")}
    for index, data in blocks.items():
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        ebs.put_snapshot_block(SnapshotId=made, BlockIndex=index, BlockData=data, DataLength=BLOCK, Checksum=digest,
                               ChecksumAlgorithm="SHA256")
    if complete:
        ebs.complete_snapshot(SnapshotId=made, ChangedBlocksCount=len(blocks))
        until(lambda: state(lab, made, AWAY) == "completed", f"the completion of {made}")
    return str(made)


def snapshots(lab: LabConfig, region: str, **filters: str) -> list[dict[str, Any]]:
    """Snapshots by filters of DescribeSnapshots, `tag:` names with `__` for `:` and `_` for `-`."""
    wanted = [{"Name": name.replace("__", ":").replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    return list(client(lab, "ec2", region).describe_snapshots(Filters=wanted)["Snapshots"])


def state(lab: LabConfig, snapshot: str, region: str) -> str:
    return next((str(item["State"]) for item in snapshots(lab, region, snapshot_id=snapshot)), "")


def copies(lab: LabConfig, snapshot: str) -> list[dict[str, Any]]:
    """Copies of a snapshot in the analysis region."""
    return snapshots(lab, HOME, tag__dfir__source_snapshot=snapshot)


def instances(lab: LabConfig, request_id: str) -> list[dict[str, Any]]:
    """All instances that a request ever had, as far as AWS still shows them."""
    found = client(lab, "ec2").describe_instances(Filters=[{"Name": "tag:dfir:request", "Values": [request_id]}])
    return [item for reservation in found["Reservations"] for item in reservation["Instances"]]


def deny_ssh(lab: LabConfig, host: Mapping[str, Any]) -> None:
    """Close port 22 of a host for everybody, and the connection that Ansible has kept."""
    group, ec2 = host["SecurityGroups"][0]["GroupId"], client(lab, "ec2")
    [found] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])
    control = Path.home() / ".ansible" / "cp" / host["InstanceId"]
    subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={control}", "host"], capture_output=True, check=False)


def arm(lab: LabConfig, name: str, *words: str) -> None:
    """Arm a fault, as `python -m lab fault` does."""
    ask(lab, "faults", Registry.parse_words(name, list(words)))


def boto_session(lab: LabConfig, keys: Mapping[str, str]) -> Callable[[str], Any]:
    """Clients with somebody's temporary credentials, as the metadata service gives them."""

    def make(service: str) -> Any:
        return boto3.client(service, region_name=HOME, endpoint_url=lab.endpoint,
                            aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
                            aws_session_token=keys["Token"])

    return make


@dataclass
class Site:
    """Where a test works: the lab, a folder, and all requests that were made."""

    lab: LabConfig
    folder: Path
    seed: int = 1  # what is random comes from it
    rounds: int = 1  # of the soak
    requests: list[Request] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    planted: set[str] = field(default_factory=set)  # keys of objects that a test has put into the bucket itself

    def request(self, *, overlay: dict[str, Any] | None = None, **fields: Any) -> Request:
        """A request for an incident that nobody has used before, unless `incident` is given."""
        own = {"incident": f"INC-{uuid.uuid4().hex[:8].upper()}"}
        made = Request(self.lab, self.folder, VALID | own | fields, overlay)
        self.requests.append(made)
        return made

    def source(self, *, complete: bool = True, content: bytes = b"evidence") -> str:
        """See `source`."""
        made = source(self.lab, complete=complete, content=content)
        self.sources.append(made)
        return made


def together(*, minutes: float = 0) -> Callable[[Callable[[Site], None]], Callable[[Futures], None]]:
    """Make of a test one that runs beside others: ansible-playbook waits a lot. The longest are started first."""

    def decorate(function: Callable[[Site], None]) -> Callable[[Futures], None]:
        def test(flows: Futures) -> None:
            flows[function].result()

        test.__name__, test.__doc__, test.__module__ = function.__name__, function.__doc__, function.__module__
        test.flow, test.minutes = function, minutes  # type: ignore[attr-defined]
        return test

    return decorate
