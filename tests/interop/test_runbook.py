"""The runbook: a section for each alert, and commands that work. That its metrics exist, test_prometheus.py asks."""

import re
import subprocess

import pytest

from debian import environment, tool
from shipped import RECORDED, RUNBOOK, alerts, commands, recorded, sections
from sidecar import BINARY

PARTS = ("**Meaning.**", "**Look.**", "**Do.**", "**Do not**")
SECONDS = 60


def anchor(alert) -> str:
    path, _, anchor = alert.runbook.partition("#")
    assert path == "docs/RUNBOOK.md"
    return anchor


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_leads_to_its_section(alert):
    words = re.findall(r"API|Api|[A-Z][a-z]+", alert.name.removeprefix("Asepsis"))
    assert anchor(alert) == "-".join(words).lower()
    assert [part for part in PARTS if part not in sections()[anchor(alert)]] == []


def test_a_section_is_of_an_alert():
    assert set(sections()) == {anchor(alert) for alert in alerts()}


def test_links_within_the_runbook_lead_somewhere():
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK.read_text())) <= set(sections())


def test_rules_that_the_runbook_asks_for_exist():
    asked = set(RECORDED.findall(RUNBOOK.read_text()))
    assert asked
    assert asked <= {rule.name for rule in recorded()}


@pytest.mark.parametrize("block", commands(), ids=range(len(commands())))
def test_a_command_of_the_runbook_works(prometheus, block):
    for name in ("jq", "curl", "promtool"):
        tool(name)
    sidecar = prometheus.sidecar
    on_call = "client-Security_Incident_Response"
    where = {
        "CONFIG": sidecar.directory / "asepsis.toml",
        "AUDIT": sidecar.directory / "audit",
        "ADMIN": sidecar.admin,
        "PROMETHEUS": prometheus.url,
        "ON_CALL": f"--config {sidecar.directory / 'asepsis.toml'} --target {sidecar.operations} --ca {sidecar.pem('ca.pem')}"
        f" --certificate {sidecar.pem(f'{on_call}.pem')} --key {sidecar.pem(f'{on_call}.key')}",
    }
    shell = {**environment(), **{name: str(value) for name, value in where.items()}}
    shell["PATH"] = f"{BINARY.parent}:{shell['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(command, env=shell, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
