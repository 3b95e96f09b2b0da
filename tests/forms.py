# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of `aap/surveys.yml` as docs/aap.md shows them: `PYTHONPATH=collections python -m tests.forms`."""

from __future__ import annotations

from typing import Any

from tests.aap_kit import load


def form(template: dict[str, Any]) -> list[str]:
    """One template's form as a table."""
    survey = template["survey"]
    lines = [f"**{survey['name']}** (`{template['name']}`): {survey['description']}.", "",
             "| Question | Answer | Help |", "|---|---|---|"]
    for question in survey["spec"]:
        star = " \\*" if question["required"] else ""
        lines.append(f"| {question['question_name']}{star}<br>`{question['variable']}` | {_answer(question)} "
                     f"| {question['question_description']} |")
    return [*lines, ""]


def _answer(question: dict[str, Any]) -> str:
    kind, default = question["type"], question.get("default", "")
    if kind == "multiplechoice":
        return " ".join(f"(●) {choice}" if choice == default else f"( ) {choice}" for choice in question["choices"])
    bounds = f"{question['min']} to {question['max']}"
    shown = f"[ {default} ]" if default != "" else "[ &nbsp; ]"
    return f"{shown} {bounds}" if kind in ("integer", "float") else \
        f"{shown} {'lines' if kind == 'textarea' else 'text'}, at most {question['max']} characters"


def main() -> None:
    """Print all forms."""
    for template in load()["controller_templates"]:
        if template["survey_enabled"]:
            print("\n".join(form(template)))


if __name__ == "__main__":
    main()
