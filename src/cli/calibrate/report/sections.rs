//! The page, section by section, in the order in which whoever signs for the model asks.

use super::Report;
use super::charts::{self, Mark};
use super::checks;
use super::page::{Page, Tone, alpha, count, p_value, percent, rows};
use super::statistics::{self, Reliability, as_f64};
use super::text::CONFIDENCE_BINS;
use crate::calibration::promise::{Promise, interval};

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut page = Page::new(&format!("Calibration of {}, version {}", report.model, report.version));
    let data = if report.recorded.is_some() { "traffic, recorded, not screened," } else { "clean data" };
    page.paragraph(
        Tone::Soft,
        &format!(
            "{}. {} of {data} gave the detectors their references, {} rank the fused score. A row is one input, such \
             as one image.",
            report.date,
            rows(report.rows.references),
            count(report.rows.ranked)
        ),
    );
    recorded(&mut page, report);
    promise(&mut page, report);
    assumptions(&mut page);
    detection(&mut page, report);
    detectors(&mut page, report);
    cost(&mut page, report);
    strata(&mut page, report);
    checks::splits(&mut page, report);
    checks::order(&mut page, report);
    reliability(&mut page, report);
    record(&mut page, report);
    page.finish()
}

fn recorded(page: &mut Page, report: &Report) {
    let Some(found) = report.recorded else { return };
    let accepted = if found.accepted {
        " More than chance explains, and accepted (`--accept-shift`): whoever signs answers for them."
    } else {
        ""
    };
    page.paragraph(
        Tone::Warning,
        &format!(
            "Nobody has looked at these rows. What is said of clean rows here holds if none of them is an attack: \
             attacks among them raise the thresholds. {} of {} were judged anomalous by the calibration in use, which \
             promised a share of {} (p = {}).{accepted}",
            count(found.flagged),
            rows(found.rows),
            percent(found.alpha),
            p_value(found.p)
        ),
    );
}

fn promise(page: &mut Page, report: &Report) {
    page.heading("What is promised");
    page.paragraph(
        Tone::Plain,
        "A false alarm is a clean input that is judged anomalous. The rate expected of false alarms is at most the \
         policy's alpha. That is a mean over all calibrations that could have been drawn; with this one the rate \
         may be higher, and the bound says how much higher, with 95% confidence.",
    );
    let table: Vec<Vec<String>> = report
        .thresholds
        .iter()
        .map(|threshold| {
            let promise = threshold.promise;
            vec![
                threshold.action.clone(),
                alpha(&promise),
                percent(promise.expected()),
                percent(promise.bound(0.95)),
                count(promise.alarms_max(1000, 0.95)),
                format!("{} of {}", count(promise.rank()), count(promise.rows())),
            ]
        })
        .collect();
    let head = [
        "At or below alpha a row is",
        "Alpha",
        "Expected",
        "95% bound of the rate",
        "95% bound in 1,000 rows",
        "Rank of the threshold",
    ];
    page.table(&head, &table);
    page.paragraph(
        Tone::Soft,
        "With the threshold at the k-th largest of n scores, the rate given this calibration is distributed as \
         Beta(k, n + 1 - k), and the count in new rows as beta-binomial. A row that is withheld counts as flagged, \
         too. A request of several rows gets the verdict of its worst row: its false alarms are more frequent, up \
         to as many times as it has rows.",
    );
    if report.thresholds.iter().any(|threshold| threshold.promise.rank() == 0) {
        page.paragraph(
            Tone::Warning,
            "There are too few rows for the smallest alpha: nothing is ever judged anomalous at it.",
        );
    }
}

fn assumptions(page: &mut Page) {
    page.heading("What the promise rests on");
    page.list(&[
        "Traffic is like the calibration data (exchangeability): the same kind of patients, devices, sites, \
         settings and preparation. Data of another site or year can raise false alarms at once; calibrate with \
         data recorded where the model is used, and again after every change. The sidecar \
         compares the rate of flagged rows with the promise, and raises an alarm (asepsis_flag_rate_alarm) when \
         they are more than this calibration explains.",
        "The rows are independent. Many images of one patient are worth fewer rows than their number.",
        "The model, its twin and the settings of the detectors were made, and chosen among others, without these rows.",
        "The files named at the end of this page are the ones that are served; the sidecar checks that.",
    ]);
    page.heading("What it does not cover");
    page.list(&[
        "It bounds false alarms, not missed attacks. Detection rates hold for the attacks that were tried, with \
         their strengths, and for no other.",
        "An attacker who knows the model, the perturbed copies and the twin can look for inputs that fool all of \
         them at once. No robustness is claimed against such an attacker; rates of such attacks belong in the \
         evaluation, and are far lower.",
        "A model that is wrong in itself: wrong labels, bias or a back door learnt in training, or a disease that \
         it never saw. Wrong answers to ordinary inputs look as consistent as right ones.",
        "Each group of patients. The rate holds over all rows together; parts of them may have more false alarms \
         and others fewer; the table of parts shows those that can be told apart.",
    ]);
}

fn detection(page: &mut Page, report: &Report) {
    page.heading(&format!("The fused score, {} against attacked", report.kind()));
    let marks = marks(report);
    let attacked = report.attacked();
    page.key(&[("clean", &format!("{} rows that rank", report.kind())), ("attacked", "attacked rows")]);
    let mut figures = vec![(
        charts::histogram("Fused score", &report.fused, &attacked, &marks),
        "Fused score: the sum of the squares by which -log p of each score exceeds 1. The bars at the ends hold what \
         lies beyond."
            .to_owned(),
    )];
    if let Some((curve, area)) = charts::roc(report) {
        let caption = format!(
            "ROC curve, area {area:.3}. The false-alarm rate is on a logarithmic axis; the dots are the policy's \
             thresholds, the dashed line is chance."
        );
        figures.push((curve, caption));
    }
    page.figures(&figures);
    if report.attacks.is_empty() {
        let missing = "No attacked rows were given: nothing is known of the detection rate (`--attacked`).";
        page.paragraph(Tone::Missing, missing);
        return;
    }
    page.paragraph(
        Tone::Soft,
        "Rows that the contract refused count as found; they have no score in the charts.",
    );
    let promises: Vec<Promise> = report.thresholds.iter().map(|threshold| threshold.promise).collect();
    let head = |promise| format!("Found at {} (95% interval)", alpha(promise));
    let heads: Vec<String> = promises.iter().map(head).collect();
    let mut head = vec!["Attack"];
    head.extend(heads.iter().map(String::as_str));
    head.extend(["Rows", "Refused by the contract"]);
    let row = |attack: &super::Attack| {
        let mut row = vec![attack.name.clone()];
        for promise in &promises {
            let found = attack.found(report.threshold(promise.alpha()));
            row.push(share(found, attack.rows()));
        }
        row.extend([count(attack.rows()), count(attack.refused)]);
        row
    };
    page.table(&head, &report.attacks.iter().map(row).collect::<Vec<_>>());
}

fn detectors(page: &mut Page, report: &Report) {
    page.heading("The detectors");
    if report.detectors.is_empty() {
        page.paragraph(Tone::Missing, "No detector runs.");
        return;
    }
    page.paragraph(
        Tone::Soft,
        "What each would find alone with a threshold of its own. Stage 2 runs only for rows that do not leave at \
         the gate. Copies are rows that the model runs besides the input.",
    );
    let mut head = ["Detector", "Stage", "Copies", "Area under ROC"].map(str::to_owned).to_vec();
    for threshold in &report.thresholds {
        head.push(format!("Found alone at {}", alpha(&threshold.promise)));
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let (mut table, mut figures) = (Vec::new(), Vec::new());
    for detector in &report.detectors {
        let area = statistics::roc(&detector.clean, &detector.attacked).map(|curve| statistics::area(&curve));
        let unknown = || "-".to_owned();
        let mut row = vec![
            detector.name.clone(),
            detector.stage.to_string(),
            format!("{}", detector.passes),
            area.map_or_else(unknown, |area| format!("{area:.3}")),
        ];
        for threshold in &report.thresholds {
            let place = statistics::threshold(&detector.clean, threshold.promise.alpha());
            row.push(statistics::above(&detector.attacked, place).map_or_else(unknown, percent));
        }
        table.push(row);
        let svg = charts::histogram(&detector.name, &detector.clean, &detector.attacked, &[]);
        figures.push((svg, detector.name.clone()));
    }
    page.table(&head, &table);
    page.key(&[("clean", &format!("{} rows that rank", report.kind())), ("attacked", "attacked rows")]);
    page.figures(&figures);
}

fn cost(page: &mut Page, report: &Report) {
    page.heading("Cost against quality");
    if report.gates.is_empty() {
        page.paragraph(Tone::Missing, "No attacked rows or no second stage: there is no gate to move.");
        return;
    }
    let Some(threshold) = report.widest() else { return };
    let caption = format!(
        "Share of attacked rows found at {}, against the rows of the model that a {} row costs, for gates that \
         let more or fewer rows leave after stage 1.",
        alpha(&threshold.promise),
        report.kind()
    );
    page.figures(&[(charts::cost(&report.gates), caption)]);
    let row = |gate: &super::Gate| {
        vec![
            format!("{:.0}%{}", 100.0 * gate.quantile, if gate.chosen { " (this calibration)" } else { "" }),
            format!("{:.2}", gate.passes),
            percent(gate.detected),
        ]
    };
    let table: Vec<Vec<String>> = report.gates.iter().map(row).collect();
    let leave = format!("Share of {} rows that leave at the gate", report.kind());
    page.table(&[&leave, "Rows of the model", "Found"], &table);
}

fn strata(page: &mut Page, report: &Report) {
    page.heading("False alarms in parts of the data");
    let Some(threshold) = report.widest().filter(|_| !report.strata.is_empty()) else {
        let missing = format!("Nothing tells the {} rows apart by class, site or modality.", report.kind());
        page.paragraph(Tone::Missing, &missing);
        return;
    };
    let promise = threshold.promise;
    let mut above = Vec::new();
    let mut table = Vec::new();
    for stratum in &report.strata {
        let (low, _) = interval(stratum.alarms, stratum.rows, 0.95);
        if low > promise.alpha() {
            above.push(format!("{} {}", stratum.by, stratum.name));
        }
        table.push(vec![
            format!("{}: {}", stratum.by, stratum.name),
            share(stratum.alarms, stratum.rows),
            count(stratum.alarms),
            count(stratum.rows),
            if low > promise.alpha() { "above alpha" } else { "" }.to_owned(),
        ]);
    }
    page.table(&["Part", "Rate (95% interval)", "False alarms", "Rows", ""], &table);
    page.paragraph(
        Tone::Soft,
        &format!(
            "At alpha {}. Of intervals at 95%, one in twenty misses the true rate by chance.",
            alpha(&promise)
        ),
    );
    if !above.is_empty() {
        page.paragraph(
            Tone::Warning,
            &format!(
                "More false alarms than alpha: {}. The promise holds over all rows together, not there; calibrate \
                 these rows apart if they can be told apart when they arrive.",
                above.join("; ")
            ),
        );
    }
}

fn reliability(page: &mut Page, report: &Report) {
    page.heading("Is the model as sure as it should be?");
    let known = report.labelled.as_ref().and_then(|labelled| {
        let before = Reliability::new(&labelled.before, CONFIDENCE_BINS)?;
        Some((labelled, before, Reliability::new(&labelled.after, CONFIDENCE_BINS)?))
    });
    let Some((labelled, before, after)) = known else {
        page.paragraph(
            Tone::Missing,
            &format!(
                "The {} data have no labels: confidence cannot be held against accuracy.",
                report.kind()
            ),
        );
        return;
    };
    let right = labelled.before.iter().filter(|answer| answer.right).count();
    page.paragraph(
        Tone::Plain,
        &format!(
            "{} of {} answers are right. The expected calibration error is {:.3}, and {:.3} with the temperature \
             {:.2} that was fitted on such data.",
            count(right),
            count(labelled.before.len()),
            before.error,
            after.error,
            labelled.temperature
        ),
    );
    page.key(&[("before", "the model's own"), ("clean", "with the temperature")]);
    let caption =
        "Confidence against accuracy; on the diagonal both agree. One dot for each tenth that holds rows.";
    page.figures(&[(charts::reliability(&before, &after), caption.to_owned())]);
}

fn record(page: &mut Page, report: &Report) {
    page.heading("What this calibration is bound to");
    let bound = report.bound_to.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
    page.names(&bound.collect::<Vec<_>>());
    page.paragraph(
        Tone::Soft,
        "If one of them changes, the calibration is stale: the sidecar does not serve the model on it.",
    );
    page.heading("How it was made");
    page.code(&report.command);
}

/// Thresholds among the fused scores.
fn marks(report: &Report) -> Vec<Mark> {
    let mark = |threshold: &super::Threshold| {
        let at = report.threshold(threshold.promise.alpha())?;
        Some(Mark { at, name: threshold.action.clone() })
    };
    report.thresholds.iter().filter_map(mark).collect()
}

/// A rate with its interval.
fn share(found: usize, all: usize) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    let (low, high) = interval(found, all, 0.95);
    format!("{} ({} to {})", percent(as_f64(found) / as_f64(all)), percent(low), percent(high))
}
