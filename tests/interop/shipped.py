"""What ships for operators, as data: Prometheus' rules with their tests, Grafana's dashboard, the runbook."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from sidecar import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
SCRAPE = PROMETHEUS / "scrape.yml"
RULES = (PROMETHEUS / "recording.yml", PROMETHEUS / "alerts.yml")
TESTS = tuple(sorted((PROMETHEUS / "tests").glob("*.yml")))
DASHBOARD = ROOT / "deploy" / "grafana" / "asepsis.json"
RUNBOOK = ROOT / "docs" / "RUNBOOK.md"

# A metric of the sidecar, and what a rule records of one.
METRIC = re.compile(r"(?<![\w:])asepsis_[a-z_]+(?![\w:*])")
RECORDED = re.compile(r"(?<![\w:])[a-z_]+:asepsis_[a-z_]+:[a-z0-9_]+")

# What Grafana puts in the place of its variables.
VARIABLES = {"$job": ".+", "$instance": ".+", "$model": ".*", "$__rate_interval": "1m"}


@dataclass(frozen=True)
class Rule:
    name: str
    expr: str
    severity: str = ""
    runbook: str = ""
    described: bool = False


def _rules(path: Path, kind: str) -> list[dict]:
    groups = yaml.safe_load(path.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


@cache
def recorded() -> list[Rule]:
    return [Rule(rule["record"], rule["expr"]) for rule in _rules(RULES[0], "record")]


@cache
def alerts() -> list[Rule]:
    return [
        Rule(
            rule["alert"],
            rule["expr"],
            rule["labels"]["severity"],
            rule["annotations"]["runbook_url"],
            {"summary", "description"} <= set(rule["annotations"]),
        )
        for rule in _rules(RULES[1], "alert")
    ]


@cache
def unit_tests() -> list[dict]:
    """Those of promtool: name, series, and what is expected of one alert."""
    return [test for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]]


@cache
def dashboard() -> dict:
    return json.loads(DASHBOARD.read_text())


@cache
def queries() -> list[tuple[str, str]]:
    """Each expression of the dashboard, its variables filled in, with the title of what draws it."""
    panels = [
        (panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])
    ]
    annotations = [(item["name"], item["expr"]) for item in dashboard()["annotations"]["list"] if "expr" in item]
    return [(title, _filled(expr)) for title, expr in panels + annotations]


def _filled(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def needs(expr: str) -> set[str]:
    """The metrics of the sidecar that an expression rests on, through whatever rules record of them."""
    found = set(METRIC.findall(expr))
    for name in RECORDED.findall(expr):
        (rule,) = [rule for rule in recorded() if rule.name == name]
        found |= needs(rule.expr)
    return found


@cache
def sections() -> dict[str, str]:
    """The runbook by the anchors of its headings, as a forge makes them."""
    pieces = re.split(r"^## (.+)\n", RUNBOOK.read_text(), flags=re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in pieces[1::2]]
    assert len(anchors) == len(set(anchors))
    return dict(zip(anchors, pieces[2::2], strict=True))


@cache
def commands() -> list[str]:
    """What the runbook has somebody type, block by block, but for the one that says where things are."""
    blocks = re.findall(r"^```sh\n(.*?)^```", RUNBOOK.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "export " not in block]
