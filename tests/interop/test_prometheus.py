"""The shipped rules: by promtool alone, and in a real Prometheus that scrapes real sidecars."""

import subprocess

import pytest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from debian import tool
from observed import SECONDS, SIDECARS, TRACE_ID
from samples import WDBC, clean
from shipped import (
    PROMETHEUS,
    RULES,
    RUNBOOK,
    SCRAPE,
    TESTS,
    alerts,
    needs,
    queries,
    recorded,
    unit_tests,
)
from triton import request

# Alerts that the day of the two sidecars is made to raise, and why (observed.py).
EXPECTED = {
    "AsepsisFlagRateAlarm": "the one in shadow mode is sent little but attacks",
}
# Drawn where something is wrong alone.
QUIET = {"Starts", "Alerts"}


def run(*command) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


# By promtool and amtool.


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_sees_each_alert_fire_and_stay_silent_as_its_tests_say(path):
    run(tool("promtool"), "test", "rules", path)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_promtool_takes_the_rules(path):
    run(tool("promtool"), "check", "rules", "--lint-fatal", path)


def test_promtool_takes_the_configuration():
    run(tool("promtool"), "check", "config", SCRAPE)


def test_amtool_takes_the_configuration_of_the_alertmanager():
    run(tool("amtool"), "check-config", PROMETHEUS / "alertmanager.yml")


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "on-call"), ("warning", "team"), ("info", "nobody"), ("", "team")]
)
def test_an_alert_reaches_who_should_hear_of_it(severity, receiver):
    config = f"--config.file={PROMETHEUS / 'alertmanager.yml'}"
    run(tool("amtool"), "config", "routes", "test", config, f"--verify.receivers={receiver}", f"severity={severity}")


# Every alert is tested.


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_has_a_test_in_which_it_fires_and_one_of_the_same_metrics_in_which_it_is_silent(alert):
    of_this = [
        (expected["exp_alerts"], " ".join(series["series"] for series in test["input_series"]))
        for test in unit_tests()
        for expected in test["alert_rule_test"]
        if expected["alertname"] == alert.name
    ]
    assert any(fires for fires, _ in of_this)
    read = needs(alert.expr) or {"up"}
    silent = [series for fires, series in of_this if not fires]
    assert any(name in series for series in silent for name in read)


def test_tests_are_of_alerts_that_exist():
    tested = {expected["alertname"] for test in unit_tests() for expected in test["alert_rule_test"]}
    assert tested == {alert.name for alert in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_says_how_bad_it_is_and_what_it_means(alert):
    assert alert.severity in {"critical", "warning", "info"}
    assert alert.described


# In a real Prometheus.


def test_sidecars_are_scraped_without_an_error(prometheus):
    targets = prometheus.ask("targets")["activeTargets"]
    assert len(targets) == SIDECARS
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")] * SIDECARS


def test_the_scrape_is_openmetrics_with_its_types(prometheus):
    kinds = {name: {kind["type"] for kind in told} for name, told in prometheus.ask("metadata").items()}
    # Of the text format of old, a counter's name would end in _total, and there would be no info.
    assert kinds["asepsis_requests"] == {"counter"}
    assert kinds["asepsis_build"] == {"info"}


def test_no_rule_fails(prometheus):
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(recorded()) + len(alerts())
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert {rule["health"] for rule in rules} == {"ok"}


@pytest.mark.parametrize("rule", recorded(), ids=lambda rule: rule.name)
def test_a_recording_rule_gives_values(prometheus, rule):
    # A quantile is NaN until a second scrape has seen its histogram grow.
    prometheus.until(rule.name, holds=lambda found: found and all(float(series["value"][1]) >= 0 for series in found))


def test_every_metric_that_rules_dashboard_and_runbook_name_is_told_by_a_sidecar(prometheus):
    rules = [rule.expr for rule in (*recorded(), *alerts())]
    drawn = [expr for _, expr in queries()]
    named = set().union(*map(needs, [*rules, *drawn, RUNBOOK.read_text()]))
    told = {name for name in prometheus.metrics() if ":" not in name}
    assert named - told == set()


@pytest.mark.parametrize(("title", "expr"), queries(), ids=[f"{title}-{n}" for n, (title, _) in enumerate(queries())])
def test_the_dashboard_asks_what_prometheus_can_answer(prometheus, title, expr):
    prometheus.ask("format_query", query=expr)
    prometheus.ask("query", query=expr)
    if title not in QUIET:
        assert prometheus.until(expr)


def test_a_variable_of_the_dashboard_has_values(prometheus):
    assert prometheus.ask("label/job/values", **{"match[]": "asepsis_build_info"}) == ["asepsis"]
    models = prometheus.ask("label/model/values", **{"match[]": 'asepsis_rows_total{model!=""}'})
    assert {"wdbc", "digits", "pneumonia"} <= set(models)


def test_a_trace_is_found_from_the_latency_of_its_request(prometheus):
    exemplars = prometheus.ask("query_exemplars", query="asepsis_request_duration_seconds_bucket", start="0", end="9e9")
    assert TRACE_ID in {exemplar["labels"]["trace_id"] for series in exemplars for exemplar in series["exemplars"]}


def test_in_ordinary_operation_no_alert_fires_or_is_about_to_and_an_emergency_fires_its_own(prometheus):
    # Most alerts wait for minutes before they fire: what is pending would, if this went on.
    told = {alert["metric"]["alertname"] for alert in prometheus.query("ALERTS")}
    assert told - EXPECTED.keys() == set()
    sidecar = prometheus.sidecar
    firing = 'ALERTS{alertstate="firing",alertname!="AsepsisFlagRateAlarm"}'
    assert prometheus.query(firing) == []
    stated = (("asepsis-emergency", "system-failure"),)
    with sidecar.channel("client-Emergency_Access") as channel:
        GRPCInferenceServiceStub(channel).ModelInfer(request(WDBC, clean(WDBC)[0][0]), timeout=SECONDS, metadata=stated)
    (alert,) = prometheus.until(firing)
    assert alert["metric"]["alertname"] == "AsepsisEmergencyAccessOpen"
    assert alert["metric"]["instance"] == sidecar.admin


def test_a_model_that_is_sent_little_but_attacks_fires_the_alarm_on_its_promise(prometheus):
    (alert,) = prometheus.until('ALERTS{alertstate="firing",alertname="AsepsisFlagRateAlarm"}')
    assert alert["metric"]["model"] == "wdbc"
    assert alert["metric"]["instance"] != prometheus.sidecar.admin
