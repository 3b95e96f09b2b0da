# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that speak with AWS, run in a fork of ansible-playbook where controller and target are the same.

Most of what such a module costs is no work: a package is made of it, a Python is started, boto3 is imported. A fork of
this process has all that. Everywhere else (another connection, another Python, another user, in the background) the
module runs as any other. docs/decisions/0016-modules-in-a-fork.md says what it brought.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, NoReturn

from ansible.module_utils import basic
from ansible.plugins.action import ActionBase
from ansible.vars.clean import remove_internal_keys

with suppress(ImportError):  # imported here, in the process that forks; where it is missing, the module says so
    from ansible_collections.amazon.aws.plugins.module_utils import modules as _modules  # noqa: F401

try:  # ansible-core 2.19 and later
    from ansible.module_utils.common.json import Direction, get_module_encoder

    ENCODER: Any = get_module_encoder("legacy", Direction.CONTROLLER_TO_MODULE)
except ImportError:
    from ansible.parsing.ajson import AnsibleJSONEncoder as ENCODER


def _descriptions() -> Any:
    """botocore's descriptions of what most modules ask: read by every new session, 0.25 s for EC2 alone."""
    loader = botocore.session.create_loader()
    loader.load_data_with_path("endpoints")
    for name in ("partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    for service in ("ec2", "s3", "iam", "sts"):
        for kind in ("service-2", "endpoint-rule-set-1", "paginators-1"):
            loader.load_service_model(service, kind)
    return loader


_KNOWN = None
with suppress(Exception):  # a botocore that keeps them otherwise reads them as it always does
    import botocore.session

    _KNOWN = _descriptions()


class NearAction(ActionBase):
    """An action that runs modules near by."""

    _requires_connection = True

    def run_module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a collection's module (by its full name) here where that is the same, and else as any other."""
        if not self._is_near(task_vars):
            ran: dict[str, Any] = self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars,
                                                       wrap_async=bool(self._task.async_val))
            return ran
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        self._update_module_args(name, arguments, task_vars)
        given = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=ENCODER).encode()
        collection, _dot, short = name.rpartition(".")
        module = importlib.import_module(f"ansible_collections.{collection}.plugins.modules.{short}")
        said = in_a_fork(module.main, name, given, environment)
        # 2.19 added how the answer is written.
        more = ("legacy",) if len(inspect.signature(self._parse_returned_data).parameters) > 1 else ()
        result: dict[str, Any] = self._parse_returned_data(said, *more)
        if said["rc"] and not result.get("failed"):
            result["failed"] = True
        remove_internal_keys(result)
        return result

    def _is_near(self, task_vars: Mapping[str, Any]) -> bool:
        if self._connection.transport != "local" or self._task.delegate_to or self._task.async_val:
            return False
        if self._connection.become is not None or self._play_context.become:
            return False
        return self._templar.template(task_vars.get("ansible_python_interpreter")) == sys.executable


class NearModule(NearAction):
    """Runs the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run it, and return what it returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        name = f"dfir.aws.{self._task.action.rpartition('.')[2]}"
        result.update(self.run_module(name, dict(self._task.args), task_vars or {}))
        return result


def in_a_fork(main: Any, name: str, given: bytes, environment: Mapping[str, str]) -> dict[str, Any]:
    """Exit code and output of a module's `main`, as of a command."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _be_the_module(main, name, given, environment, out, err)
        try:
            _child, status = os.waitpid(child, 0)
        except BaseException:  # the task has taken too long, or the run was cancelled
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
    return {"rc": os.waitstatus_to_exitcode(status), "stdout": texts[0], "stderr": texts[1]}


def _use(known: Any) -> None:
    """Sessions of this process, which is the module's alone, know what is read already; own folders are own folders."""
    create = botocore.session.create_loader
    botocore.session.create_loader = lambda folders=None: known if folders is None else create(folders)


def _be_the_module(main: Any, name: str, given: bytes, environment: Mapping[str, str], out: IO[bytes],
                   err: IO[bytes]) -> NoReturn:
    code = 1
    try:
        atexit._clear()  # what ansible-playbook does at its end is not for this process to do
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.argv = [name]
        os.environ.update({key: str(value) for key, value in environment.items()})
        basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = given, "legacy"
        if _KNOWN is not None:
            _use(_KNOWN)
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()  # the module's own: its temporary files
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
