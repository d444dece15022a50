//! The page, section by section, in the order in which whoever signs for the model asks.

use super::charts::{self, Mark};
use super::page::{Page, Tone, alpha, count, p_value, percent, rows};
use super::statistics::{self, Reliability, as_f64};
use super::text::{CONFIDENCE_BINS, SUSPICIOUS};
use super::{Labelled, Report};
use crate::calibration::promise::{Promise, interval};

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut page = Page::new(&format!("Calibration of {}, version {}", report.model, report.version));
    let clean = report.rows;
    page.paragraph(
        Tone::Soft,
        &format!(
            "{}. {} of clean data gave the detectors their references, {} rank the fused score, {} were left out \
             because the contract refuses them or a detector could not measure them. A row is one input, such as \
             one image.",
            report.date,
            rows(clean.references),
            count(clean.ranked),
            count(clean.left_out)
        ),
    );
    promise(&mut page, report);
    assumptions(&mut page);
    detection(&mut page, report);
    detectors(&mut page, report);
    cost(&mut page, report);
    strata(&mut page, report);
    splits(&mut page, report);
    order(&mut page, report);
    reliability(&mut page, report.labelled.as_ref());
    record(&mut page, report);
    page.finish()
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
    page.heading("The fused score, clean against attacked");
    let marks = marks(report);
    let attacked = report.attacked();
    page.key(&[("clean", "clean rows that rank"), ("attacked", "attacked rows")]);
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
         the gate. Copies are rows that the model runs besides the input; the time is the detector's own, without \
         the model.",
    );
    let mut head =
        vec!["Detector".to_owned(), "Stage".to_owned(), "Copies".to_owned(), "Time a row".to_owned()];
    head.push("Area under ROC".to_owned());
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
            detector.time.map_or_else(unknown, |time| format!("{:.1} µs", time.as_secs_f64() * 1e6)),
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
    page.key(&[("clean", "clean rows that rank"), ("attacked", "attacked rows")]);
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
        "Share of attacked rows found at {}, against the rows of the model that a clean row costs, for gates that \
         let more or fewer rows leave after stage 1.",
        alpha(&threshold.promise)
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
    page.table(&["Clean rows that leave at the gate", "Rows of the model", "Found"], &table);
}

fn strata(page: &mut Page, report: &Report) {
    page.heading("False alarms in parts of the data");
    let Some(threshold) = report.widest().filter(|_| !report.strata.is_empty()) else {
        page.paragraph(Tone::Missing, "Nothing tells the clean rows apart by class, site or modality.");
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

fn splits(page: &mut Page, report: &Report) {
    page.heading("Does the promise hold on these data, split anew?");
    let Some(found) = &report.resampled else {
        page.paragraph(Tone::Missing, "Not checked.");
        return;
    };
    page.paragraph(
        if found.p_value <= SUSPICIOUS { Tone::Warning } else { Tone::Plain },
        &format!(
            "In {} random splits, {} calibrate and {} new ones are tested at alpha {}: the mean false-alarm rate is \
             {} ({} expected), and {} of the splits are within the 95% bound of {} (p = {}).{}",
            count(found.rates.len()),
            rows(found.promise.rows()),
            count(found.tested),
            alpha(&found.promise),
            percent(found.mean),
            percent(found.promise.expected()),
            percent(found.within),
            percent(found.bound),
            p_value(found.p_value),
            if found.p_value <= SUSPICIOUS { " Fewer than can be by chance: the calibration is wrong." } else { "" }
        ),
    );
    let caption = "False-alarm rates of the splits. This checks the computation: rows that are shuffled are \
                   exchangeable whatever they are, so that it cannot see a drift in them.";
    page.figures(&[(charts::rates(&found.rates, found.bound), caption.to_owned())]);
}

fn order(page: &mut Page, report: &Report) {
    page.heading("Are the data the same all along the file?");
    let Some(found) = &report.order else {
        page.paragraph(Tone::Missing, "Not checked.");
        return;
    };
    let suspicious = found.p_value <= SUSPICIOUS;
    let worst = found.rates.iter().copied().fold(0.0, f64::max);
    page.paragraph(
        if suspicious { Tone::Warning } else { Tone::Plain },
        &format!(
            "Each of {} blocks was ranked by the rows outside of it. The worst has {} false alarms; where the order \
             of the rows means nothing, a block so bad comes about with p = {}.{}",
            found.rates.len(),
            percent(worst),
            p_value(found.p_value),
            if suspicious {
                " The rows differ along the file: they drifted while they were recorded, or the file is sorted by \
                  class or site. If it is not sorted, the promise does not hold for what comes next."
            } else {
                ""
            }
        ),
    );
    let caption = "False-alarm rate of each block, in the order of the file.";
    page.figures(&[(charts::blocks(&found.rates, found.promise.alpha()), caption.to_owned())]);
}

fn reliability(page: &mut Page, labelled: Option<&Labelled>) {
    page.heading("Is the model as sure as it should be?");
    let known = labelled.and_then(|labelled| {
        let before = Reliability::new(&labelled.before, CONFIDENCE_BINS)?;
        Some((labelled, before, Reliability::new(&labelled.after, CONFIDENCE_BINS)?))
    });
    let Some((labelled, before, after)) = known else {
        page.paragraph(
            Tone::Missing,
            "The clean data have no labels: confidence cannot be held against accuracy.",
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
