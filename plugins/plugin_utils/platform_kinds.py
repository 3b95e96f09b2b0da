# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the automation platform's controller has, as far as `aap/` describes it: kinds, fields, references, links.

Names of variables and fields are those of the collection `infra.aap_configuration`; paths are those of the
controller's API.
"""

from __future__ import annotations

from typing import NamedTuple

# References in fields, by the kind that they point to
_FIELDS_THAT_REFER = {
    "organization": "organizations", "credential_type": "credential_types", "credential": "credentials",
    "default_environment": "execution_environments", "execution_environment": "execution_environments",
    "project": "projects", "source_project": "projects", "inventory": "inventories",
    "unified_job_template": "unified_job_templates",
}
# Lists of names of what is linked to a template, by the API's path below the template
LINKS = {"labels": "labels", "credentials": "credentials",
         "notification_templates_started": "notification_templates",
         "notification_templates_success": "notification_templates",
         "notification_templates_error": "notification_templates",
         "notification_templates_approvals": "notification_templates"}
NEXT = ("success_nodes", "failure_nodes", "always_nodes")


class Kind(NamedTuple):
    """A kind of object: where it is in the data and in the API, and what makes a name unique."""

    name: str
    variable: str
    path: str
    title: str
    within: str = "organization"  # the reference inside which names are unique; empty: names are unique by themselves
    only_looked_up: tuple[str, ...] = ()  # fields that say where to look and are not the object's own


KINDS: tuple[Kind, ...] = (
    Kind("labels", "controller_labels", "labels", "label"),
    Kind("credential_types", "controller_credential_types", "credential_types", "credential type", within=""),
    Kind("credentials", "controller_credentials", "credentials", "credential"),
    Kind("notifications", "controller_notifications", "notification_templates", "notification template"),
    Kind("execution_environments", "controller_execution_environments", "execution_environments",
         "execution environment", within=""),
    Kind("projects", "controller_projects", "projects", "project"),
    Kind("inventories", "controller_inventories", "inventories", "inventory"),
    Kind("inventory_sources", "controller_inventory_sources", "inventory_sources", "inventory source",
         within="inventory", only_looked_up=("organization",)),
    # The organization of a job template is that of its project.
    Kind("templates", "controller_templates", "job_templates", "job template", only_looked_up=("organization",)),
    Kind("workflows", "controller_workflows", "workflow_job_templates", "workflow"),
    Kind("schedules", "controller_schedules", "schedules", "schedule", within="unified_job_template"),
)
BY_NAME = {kind.name: kind for kind in KINDS}
BY_PATH = {kind.path: kind for kind in KINDS}
# What is written in which order: objects of a kind, or what hangs on templates and workflows. What is in one step needs
# nothing else of it.
STEPS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("objects", "labels"), ("objects", "credential_types"), ("objects", "notifications"), ("objects", "inventories")),
    (("objects", "credentials"),),
    (("objects", "execution_environments"),),
    (("objects", "projects"),),
    (("objects", "inventory_sources"), ("objects", "templates"), ("objects", "workflows")),
    (("hanging", "templates"), ("hanging", "workflows"), ("nodes", "workflows")),
    (("approvals", "workflows"), ("objects", "schedules")),
    (("edges", "workflows"),),
)
# Fields of our data that are written by another step, or say what this collection's data says elsewhere
HANGING = frozenset({"survey", "simplified_workflow_nodes", *LINKS})
TEXTS_OF_VARIABLES = frozenset({"source_vars", "extra_vars"})  # a text in the API, a dictionary in our data
SECRET = "$encrypted$"  # noqa: S105  what the API shows in a secret's place


def refers(field: str) -> str:
    """The API's path of what a field refers to; empty for a plain field."""
    return _FIELDS_THAT_REFER.get(field, "")
