# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the HTML report of a triage or a case, on the controller.

An action and not a module: the data is the controller's, and 100,000 entries of a timeline are no module's argument.
Documented in plugins/modules/case_report.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import ReportError, render, short_text

ARGUMENTS = {
    "data": {"type": "path"},
    "content": {"type": "dict"},
    "dest": {"type": "path", "required": True},
    "json_dest": {"type": "path"},
    "known": {"type": "dict", "default": {}},
}
MODE = 0o600  # what was found on a disk is nobody else's business


class ActionModule(ActionBase):
    """See the module's documentation."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render it, and write what is not there yet."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, options = self.validate_argument_spec(ARGUMENTS, mutually_exclusive=[("data", "content")],
                                                       required_one_of=[("data", "content")])
        paths = {name: self._path(options[name]) for name in ("data", "dest", "json_dest") if options[name]}
        given = _read(paths["data"]) if "data" in paths else _written(options["content"])
        twice = {name: path for name, path in paths.items() if list(paths.values()).count(path) > 1}
        if twice:
            raise AnsibleActionFail(f"{' and '.join(twice)} are all {next(iter(twice.values()))}: give each a path of "
                                    "its own.")
        try:
            data = json.loads(given)
            if options["known"] and isinstance(data, dict):
                data |= options["known"]
            page = render(data).encode()
        except ReportError as error:
            raise AnsibleActionFail(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise AnsibleActionFail(f"{paths.get('data', 'content')} is no JSON ({error}): pass the file that the "
                                    "triage wrote.") from error
        wanted = {paths["dest"]: page, **({paths["json_dest"]: given} if "json_dest" in paths else {})}
        changed = [path for path, content in wanted.items() if not _is_there(path, content)]
        for path in changed:
            if path.is_dir() or not path.parent.is_dir():
                raise AnsibleActionFail(f"{path} cannot be written: name a file in a folder that exists.")
        if not self._task.check_mode:
            for path in changed:
                _write(path, wanted[path])
        return {**result, "changed": bool(changed), "path": str(paths["dest"]), "bytes": len(page),
                "sha256": hashlib.sha256(page).hexdigest(), "short": short_text(data, paths["dest"].name)}

    def _path(self, given: str) -> Path:
        return Path(self._loader.path_dwim(given))


def _written(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AnsibleActionFail(f"data: {path} cannot be read ({error.strerror}): pass the JSON file that the triage "
                                "wrote.") from error


def _is_there(path: Path, content: bytes) -> bool:
    """Whether a file holds these bytes, and is for its owner alone. A link is replaced, not followed."""
    with suppress(OSError):
        state = path.lstat()
        if stat.S_ISREG(state.st_mode) and stat.S_IMODE(state.st_mode) == MODE and state.st_size == len(content):
            return path.read_bytes() == content
    return False


def _write(path: Path, content: bytes) -> None:
    """The whole file or none: somebody may have the report open, or the run may be cancelled."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)  # for its owner alone
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        raise AnsibleActionFail(f"{path} cannot be written ({error.strerror}): name a file in a folder that exists and "
                                "that this user may write to.") from error
