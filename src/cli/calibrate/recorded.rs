//! What does a recording of production traffic say? The scores of a site's own rows, ranked anew; and whether they are
//! like what was promised, which somebody has to answer for if they are not.
//!
//! Every row of the recording is taken, flagged or not: without those that are flagged the new thresholds would be too
//! low, and more clean rows than promised would lie above them. Attacks among them make thresholds too high. The two
//! look alike from here, which is why a person decides (ADR 19).

use super::report::Recorded;
use super::told::{self, Judge};
use super::{Args, Made, Rows};
use crate::calibration::promise::Promise;
use crate::calibration::recording::{self, Header, Recording};
use crate::calibration::{Artefact, Measured};
use crate::catalog::{Loader, load};
use crate::cli::Failure;
use crate::clock::Now;
use crate::contract::Contract;
use crate::detection::Detector;
use crate::digest::sha256;
use crate::file;
use crate::judgement::Served;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// A share of anomalous rows that comes about more rarely, by chance, is no chance.
const IMPLAUSIBLE: f64 = 0.001;
/// The largest calibration that is read.
const CALIBRATION_BYTES_MAX: u64 = 64 << 20;

/// A calibration of recorded rows, for `args.site`.
///
/// # Errors
/// The recording cannot be read, is of another model or calibration, or is unlike what that promised.
pub(super) fn calibrate(
    args: &Args,
    path: &Path,
    loader: &Loader,
    out: &mut dyn Write,
) -> Result<Made, Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let at = |error: &dyn std::fmt::Display| Failure::Other(format!("{}: {error}", path.display()));
    let bytes = file::read(path, recording::BYTES_MAX).map_err(|error| at(&error))?;
    let Recording { header, rows, torn } = Recording::parse(&bytes).map_err(|error| at(&error))?;
    if torn {
        writeln!(out, "the last line of {} is torn and was left out", path.display())?;
    }
    if args.site.is_empty() || args.site == header.site {
        let problem =
            "--site: another than the one in use when it was recorded: no calibration is changed in place";
        return Err(Failure::Usage(problem.into()));
    }
    let (unfitted, binding) = loader.load_uncalibrated(&args.model, None).map_err(|error| other(&error))?;
    is_of(&header, &unfitted.contract).map_err(|error| at(&error))?;
    let name = load::calibration_file(&header.site);
    let json = file::read(&args.model.join(&name), CALIBRATION_BYTES_MAX);
    let json =
        json.map_err(|error| Failure::Other(format!("{name}, under which it was recorded: {error}")))?;
    if sha256(&json) != header.calibration {
        return Err(at(&format!(
            "recorded under another {name} than the one that is here; record anew, or put back the one whose \
             SHA-256 is {}",
            header.calibration
        )));
    }
    let base =
        Artefact::parse(&json, &binding).map_err(|error| Failure::Other(format!("{name}: {error}")))?;
    let served = super::fitted(loader, &args.model, &base.fit)?;
    let base = measured_too(base, &rows);
    let found = plausible(&served, &base, &rows, args.accept_shift, out)?;
    let clean = Rows { sha256: sha256(&bytes), ..Rows::default() };
    let made = (args.site.clone(), Now::read().unix_seconds(), clean.sha256.clone());
    let others = base.others();
    let artefact = Artefact::new(binding, made, base.fit, &rows, others).map_err(|error| at(&error))?;
    Ok(Made { served, artefact, clean, rows, recorded: Some(found) })
}

fn is_of(header: &Header, contract: &Contract) -> Result<(), String> {
    if (&header.model, &header.version) == (&contract.name, &contract.version) {
        return Ok(());
    }
    Err(format!(
        "recorded of {}/{}, and this is {}/{}",
        header.model, header.version, contract.name, contract.version
    ))
}

/// The calibration in use, of the detectors that the rows were measured by: another set may run than did at its time.
fn measured_too(mut base: Artefact, rows: &[Measured]) -> Artefact {
    let measured: BTreeSet<Detector> =
        rows.first().iter().flat_map(|row| &row.scores).map(|(name, _)| *name).collect();
    base.references.retain(|name, _| measured.contains(name));
    base.ranked.scores.retain(|name, _| measured.contains(name));
    base
}

/// Says how many rows the calibration in use judges anomalous, and refuses more than its promise explains.
fn plausible(
    served: &Served,
    base: &Artefact,
    rows: &[Measured],
    accept_shift: bool,
    out: &mut dyn Write,
) -> Result<Recorded, Failure> {
    let judge = Judge::of(served, base);
    let calibration = judge.by_policy(base)?;
    let alpha = judge.policy.alpha_flag;
    let p_values: Vec<f64> = rows.iter().filter_map(|row| told::p_value(&calibration, row)).collect();
    if p_values.len() < rows.len() {
        let problem = "rows were measured by a detector that this calibration does not have";
        return Err(Failure::Other(problem.into()));
    }
    let flagged = p_values.iter().filter(|p| **p <= alpha).count();
    let p = Promise::new(alpha, calibration.rows_ranked()).at_least(flagged, p_values.len());
    let said = format!(
        "{flagged} of {} recorded rows are judged anomalous by the calibration in use, which promised a share of \
         {alpha} (p = {p:.2e})",
        p_values.len()
    );
    writeln!(out, "{said}")?;
    let shifted = p < IMPLAUSIBLE;
    if !shifted || accept_shift {
        return Ok(Recorded { flagged, rows: p_values.len(), alpha, p, accepted: shifted });
    }
    Err(Failure::Other(format!(
        "{said}: this site differs from the calibration data, which a calibration of its own mends, or attacks are \
         among the rows, which it would let pass. Look at what the audit log has of that time; if the rows are what \
         the site will go on to send, add --accept-shift"
    )))
}
