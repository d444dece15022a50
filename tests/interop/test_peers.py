"""What `scripts/compare-peers` reads, counts and writes; the peers themselves are its own business."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benches"))

from peers import load, measure, names, processes, proxies, report  # noqa: E402

REPORT = {
    "schema": "asepsis.bench/1",
    "target": {
        "calls": 1000,
        "errors": {},
        "first_error": None,
        "throughput_per_s": 500.0,
        "latency_us": {"p50": 96.0, "p90": 120.0, "p99": 240.0},
        "lateness_us": {"p50": 1.0, "p90": 2.0, "p99": 3.0},
        "client_cpu_us_per_call": 20.0,
        "client_cpu_share": 0.5,
    },
    "bare": {"latency_us": {"p50": 4.5}},
}


def block(peer: str, kind: str, number: int, value: float, errors: dict | None = None) -> measure.Block:
    figures = {"p50_us": value, "p99_us": value, "per_second": value, "bare_p50_us": None, "errors": errors or {}}
    used = {"server_cpu_us": value, "rss_mib": 20.0, "foreign_share": 0.0}
    told = vars(load.parse(REPORT)) | figures
    return measure.Block(peer=peer, model="wdbc", kind=kind, round=number, load=told, **used)


def result(blocks: list[measure.Block]) -> dict:
    peers = list(dict.fromkeys(block.peer for block in blocks))
    return {
        "date": "2026-11-22",
        "machine": {
            **{"cpu": "EPYC", "processors": 2, "memory_gib": 23.0, "system": "Debian 12"},
            **{"load_before": 0.1, "busy_before": 0.2},
        },
        "settings": {"rounds": 2, "seconds": 1.0, "rate": 500, "affinity": "split", "rows": {"wdbc": 64}},
        "peers": {
            peer: {"version": "1", "commands": ["serve"], "probes": {probe: "answered" for probe in names.PROBES}}
            for peer in peers
        },
        "unavailable": {"triton": "No matching distribution"},
        "bare": {"wdbc": 4.5},
        "summary": measure.summary(blocks, peers),
        "generator_commands": ["asepsis bench"],
    }


def test_a_result_of_another_schema_is_refused():
    with pytest.raises(processes.PeerFailed, match="asepsis.bench/2"):
        load.parse(REPORT | {"schema": "asepsis.bench/2"})


def test_a_result_is_read_as_the_generator_means_it():
    told = load.parse(json.loads(json.dumps(REPORT)))
    assert told.seconds == 2.0
    assert (told.calls, told.p50_us, told.p99_us, told.per_second) == (1000, 96.0, 240.0, 500.0)
    assert (told.lateness_p99_us, told.bare_p50_us) == (3.0, 4.5)


def test_a_block_without_an_answer_has_no_figure_and_its_errors():
    side = REPORT["target"] | {"calls": 0, "latency_us": None, "errors": {"UNAVAILABLE": 7}}
    told = load.parse(REPORT | {"target": side, "bare": None})
    assert math.isnan(told.p50_us) and told.errors == {"UNAVAILABLE": 7} and told.bare_p50_us is None


def test_a_process_is_read_whatever_its_name():
    fields = ["S", "42", *["0"] * 9, "100", "50", "25", "25", *["0"] * 6, "1000"]
    stat = processes.parse_stat(f"77 (a) b (c)) {' '.join(fields)} 0 0")
    assert stat.parent == 42
    assert stat.cpu_seconds == pytest.approx(200 * processes.TICK_SECONDS)
    assert stat.rss_bytes == 1000 * processes.PAGE_BYTES


def test_a_tree_has_the_children_of_children_and_no_stranger():
    stat = processes.Stat
    stats = {1: stat(0, 0, 0), 5: stat(1, 0, 0), 6: stat(5, 0, 0), 7: stat(6, 0, 0), 8: stat(1, 0, 0)}
    assert processes.tree([5], stats) == {5, 6, 7}
    assert processes.tree([99], stats) == set()


def test_what_others_compute_is_what_is_left_with_what_was_stolen():
    line = "cpu  {user} 0 0 0 0 0 0 {steal} 0 0\n"
    before = processes.Machine.parse(line.format(user=0, steal=0), 0.0)
    after = processes.Machine.parse(line.format(user=200, steal=50), 2.0)
    ours = 150 * processes.TICK_SECONDS
    assert after.foreign_share(before, ours) == pytest.approx(100 * processes.TICK_SECONDS / 2)
    assert after.foreign_share(before, 1e6) == 0


def test_the_generator_has_a_processor_for_itself_if_there_are_two():
    assert processes.Affinity.of("split", [0, 1]) == processes.Affinity((0,), (1,))
    assert processes.Affinity.of("split", [3]) == processes.Affinity((3,), (3,))
    assert processes.Affinity.of("shared", [0, 1]) == processes.Affinity((0, 1), (0, 1))


def test_every_peer_is_measured_once_a_round_and_another_begins():
    peers = ["a", "b", "c"]
    orders = [measure.order(peers, number) for number in range(3)]
    assert all(sorted(order) == peers for order in orders)
    assert len({order[0] for order in orders}) > 1
    assert measure.order([], 1) == []


def test_figures_are_medians_and_ratios_are_those_within_a_round():
    blocks = [block("floor", "alone", number, value) for number, value in enumerate((100, 200, 100))]
    blocks += [block("asepsis", "alone", number, value) for number, value in enumerate((110, 240, 130))]
    told = measure.figure("p50_us", blocks[3:], blocks[:3])
    assert (told["median"], told["low"], told["high"]) == (130, 110, 240)
    assert told["of_floor"] == pytest.approx({"median": 1.2, "low": 1.1, "high": 1.3})


def everything(peer: str, value: float, errors: dict | None = None) -> list[measure.Block]:
    return [block(peer, kind, number, value, errors) for kind in ("alone", "full", "paced") for number in (0, 1)]


def test_the_page_names_errors_disturbance_and_what_cannot_be_had():
    noisy = everything("kserve", 700, errors={"UNAVAILABLE": 3})
    noisy[0].foreign_share = 0.5
    page = report.markdown(result(everything("floor", 100) + noisy), "## What each does")
    for words in ("18 UNAVAILABLE", "during 1 of 6 blocks", "No matching distribution", "not quiet", "## What each does"):
        assert words in page, words
    assert "| KServe, plaintext | 700 (7.00; 7.00 to 7.00) | 700 (7.00; 7.00 to 7.00) |" in page
    assert "| unchecked tonic + rustls + ort (the floor) | 100 | 100 | 100 | 100 | 20 |" in page


def test_the_page_names_the_peers_that_nobody_asked_for():
    page = report.markdown(result(everything("floor", 100)), "## What each does")
    (line,) = [line for line in page.splitlines() if line.startswith("Not asked for in this run: ")]
    assert "MLServer, plaintext" in line and "nginx" in line
    # Asked for, and not to be had.
    assert "Triton (its python backend), own mTLS" not in line and "the floor" not in line


def test_what_a_server_computed_before_the_blocks_is_not_theirs():
    readings = [(0.0, 5.0), (1.0, 6.0), (2.0, 6.5), (3.0, 7.5)]
    assert processes.grown(readings, 1.0) == pytest.approx(1.5)
    assert processes.grown(readings, 1.5) == pytest.approx(1.25)
    assert processes.grown(readings, -1.0) == pytest.approx(2.5)
    assert processes.grown(readings, 3.0) == 0
    assert math.isnan(processes.grown([], 1.0)) and math.isnan(processes.grown(readings, math.nan))


def test_a_process_is_watched_while_it_computes():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with processes.Watch([busy.pid]) as watch:
            begun = processes.cpu_seconds(busy.pid)
            while processes.cpu_seconds(busy.pid) < begun + 0.2:
                pass
        assert watch.since(-math.inf) > 0.1
    finally:
        busy.kill()
        busy.wait()


def test_the_short_table_replaces_what_stood_between_the_marks_and_nothing_else():
    table = report.short_table(result(everything("floor", 100)))
    assert "2026-11-22" in table and "| bare `session.run` | 4.5 |" in table
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.between_marks(text, table)
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "old" not in once and table in once
    assert report.between_marks(once, table) == once


@pytest.mark.parametrize("text", ["no marks", report.BEGIN, report.END, report.END + report.BEGIN])
def test_a_readme_without_the_marks_is_not_written_over(text):
    with pytest.raises(ValueError, match="marks"):
        report.between_marks(text, "table")


def test_readme_has_the_marks():
    report.between_marks((processes.ROOT / "README.md").read_text(), "table")


def test_numbers_have_three_figures():
    told = {4.54: "4.5", 96.04: "96.0", 749.4: "749", 12_345: "12.3k"}
    assert {value: report.number(value) for value in told} == told


def test_a_status_stands_in_one_cell():
    told = names.described("INVALID_ARGUMENT", "a | b\n" + "c" * 200)
    assert "\n" not in told and "|" not in told and len(told) < 120


def test_every_peer_has_a_title():
    assert len({names.title(peer) for peer in names.DEFAULT}) == len(names.DEFAULT)


def test_envoy_lets_one_caller_in_and_no_method_that_manages():
    bootstrap = json.loads(proxies.envoy(1, 2, 3, Path("/pki"), Path("/log")))
    text = json.dumps(bootstrap)
    assert "requireClientCertificate" not in text and '"require_client_certificate": true' in text
    assert proxies.CALLER in text and "ModelInfer" in text and "RepositoryModelUnload" not in text
