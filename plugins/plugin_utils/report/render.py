# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One self-contained HTML file of a triage's or a case's data.

The same data gives the same bytes. Everything from evidence is text: Jinja escapes it, the script sets it as text, and
the file's own policy lets nothing run but the two scripts that it was made with.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .packing import json_block
from .short import short_text
from .texts import ReportError
from .view import view

__all__ = ["SCHEMA", "ReportError", "render", "short_text"]

SCHEMA = 1
HERE = Path(__file__).parent


def render(data: Mapping[str, Any]) -> str:
    """The report as HTML."""
    if not isinstance(data, Mapping):
        raise ReportError("The report's data must be a JSON object: pass the JSON file that the triage wrote.")
    schema = data.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise ReportError(f"The report's data has the schema {str(schema)[:40]!r}, and this version of dfir.aws knows "
                          f"{SCHEMA}: make the report with the version that made the data.")
    shown = view(data)
    style = _asset("uPlot.min.css") + _asset("report.css")
    # The license has to travel with every copy of the library, and the report is one.
    library = f"/*\n{_asset('uPlot-LICENSE.txt')}*/\n{_asset('uPlot.iife.min.js')}"
    script = _asset("report.js") + _asset("times.js") + _asset("timeline.js")
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                              undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["thousands"] = lambda number: f"{number:,}"
    page = environment.get_template("report.html.j2").render(
        **shown, policy=policy([style], [library, script]), style=_as_is(style), library=_as_is(library),
        script=_as_is(script), timeline_block=_as_is(shown["timeline"]["block"]),
        about_block=_as_is(json_block({"made": shown["made_raw"]})))
    return page.encode("utf-8", "replace").decode("utf-8")


def _as_is(text: str) -> Markup:
    """For the files beside this one, and for what `json_block` made; for nothing else."""
    return Markup(text)  # noqa: S704


def policy(styles: list[str], scripts: list[str]) -> str:
    """The Content-Security-Policy: nothing is loaded from anywhere, and only these very blocks are in force.

    Trusted types make a script that writes HTML fail, should one ever be let in here.
    """
    return "; ".join([
        "default-src 'none'", f"style-src {' '.join(map(_source, styles))}",
        f"script-src {' '.join(map(_source, scripts))}", "base-uri 'none'", "form-action 'none'",
        "require-trusted-types-for 'script'", "trusted-types 'none'"])


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    text = (HERE / name).read_text(encoding="utf-8")
    return text if text.endswith("\n") else text + "\n"
