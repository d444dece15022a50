"""The shipped dashboard, by the types that Grafana publishes of itself: one of its version 10, and the newest.

tsc holds each panel against the options of its kind, down to the words of enums; a key that is not of Grafana is an
error. What the expressions answer, test_prometheus.py asks a real Prometheus.
"""

import copy
import json
import subprocess
from pathlib import Path

import pytest

from provider import NODE
from shipped import dashboard, queries

HERE = Path(__file__).parent / "grafana"
VERSIONS = ("grafana-10", "grafana-13")
COLUMNS = 24


def panels() -> list[dict]:
    return dashboard()["panels"]


def compiled(directory: Path, version: str, value: dict) -> subprocess.CompletedProcess:
    """What tsc says of a dashboard, each of its parts typed on its own: so an error names the line of one panel."""
    value = copy.deepcopy(value)
    constants = [
        *((_kind(panel), f"panel_{panel['id']}", panel) for panel in value.pop("panels")),
        *(("Variable", f"variable_{item['name']}", item) for item in value.pop("templating")["list"]),
        *(("Annotation", f"annotation_{n}", item) for n, item in enumerate(value.pop("annotations")["list"])),
        ("Frame", "frame", value),
    ]
    lines = ["import type { Annotation, Frame, PanelOf, Row, Variable } from 'dashboard';"]
    lines += [f"export const {name}: {kind} = {json.dumps(part)};" for kind, name, part in constants]
    (directory / "asepsis.ts").write_text("\n".join(lines))
    schema = HERE / "node_modules" / version
    options = {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": True,
        "types": [],
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "paths": {
            "dashboard": [str(HERE / "dashboard.d.ts")],
            "@grafana/schema": [str(schema)],
            "@grafana/schema/*": [str(schema / "*")],
        },
    }
    (directory / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["asepsis.ts"]}))
    compiler = HERE / "node_modules" / "typescript" / "bin" / "tsc"
    return subprocess.run([NODE, compiler, "-p", directory], capture_output=True, text=True, timeout=300)


def _kind(panel: dict) -> str:
    return "Row" if panel["type"] == "row" else f"PanelOf<'{panel['type']}'>"


def broken_word(value: dict) -> None:
    (first, *_) = [panel for panel in value["panels"] if panel["type"] == "timeseries"]
    first["fieldConfig"]["defaults"]["custom"]["drawStyle"] = "lime"


def broken_key(value: dict) -> None:
    value["panels"][1]["options"]["colourMode"] = "value"


def broken_type(value: dict) -> None:
    value["schemaVersion"] = str(value["schemaVersion"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("breaking", [broken_word, broken_key, broken_type])
def test_a_dashboard_that_is_none_is_found(tmp_path, version, breaking):
    value = copy.deepcopy(dashboard())
    breaking(value)
    assert "error TS" in compiled(tmp_path, version, value).stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_the_dashboard_is_one_to_grafana(tmp_path, version):
    done = compiled(tmp_path, version, dashboard())
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_a_title_a_description_and_a_place_of_their_own():
    taken = {}
    for panel in panels():
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"]
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        for place in [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]:
            assert taken.setdefault(place, panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_panel_asks_the_datasource_that_was_chosen():
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asking = [panel for panel in panels() if panel["type"] != "row"]
    assert len(queries()) > len(asking)
    for panel in asking:
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])


def test_latency_leads_to_traces():
    (latency,) = [panel for panel in panels() if panel["title"] == "Latency against 250 ms"]
    assert [target["exemplar"] for target in latency["targets"]] == [False, True]
