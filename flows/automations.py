"""Bring `infra/automations.yaml` to Prefect's server: what it does about runs that die, fail or are late."""

import os
from importlib import resources
from typing import Any

import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.types import SecretDict
from pydantic import SecretStr

HOOK = "CMH_NOTIFY_URL"
_BLOCK = "cmh-notify"


def apply() -> list[str]:
    """Create the automations that are not there yet; returns a line on each that says what became of it.

    The address of the hook is kept by the server, encrypted, as its actions need it when no worker is left.
    """
    declared = yaml.safe_load((resources.files("infra") / "automations.yaml").read_text())
    hook = _hook()
    lines = []
    with get_client(sync_client=True) as client:
        for one in declared:
            if client.read_automations_by_name(one["name"]):
                lines.append(f"{one['name']}: is there, and left as it is")
            elif "notify" in one and hook is None:
                lines.append(f"{one['name']}: left out, as {HOOK} is not set")
            else:
                client.create_automation(AutomationCore.model_validate(_resolved(one, hook)))
                lines.append(f"{one['name']}: created")
    return lines


def _hook() -> str | None:
    """Keep the address of the hook on the server; returns the id by which actions name it."""
    address = os.environ.get(HOOK)
    if not address:
        return None
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"{HOOK} is to be the http(s) address of a webhook that takes JSON")
    webhook = Webhook(
        method="POST", url=SecretStr(address), headers=SecretDict({"Content-Type": "application/json"})
    )
    return str(webhook.save(_BLOCK, overwrite=True))


def _resolved(declared: dict[str, Any], hook: str | None) -> dict[str, Any]:
    """Return the automation as Prefect has it: `notify` becomes a call of the hook."""
    automation = dict(declared)
    if text := automation.pop("notify", None):
        # As JSON, whatever quotes and line ends the message of a state has.
        payload = f'{{% set text %}}{text}{{% endset %}}{{"text": {{{{ text|tojson }}}}}}'
        automation["actions"] = [{"type": "call-webhook", "block_document_id": hook, "payload": payload}]
    return automation
