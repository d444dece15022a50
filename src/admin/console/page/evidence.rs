//! Are a model's p-values spread as its calibration promises?

use super::{Model, Tone, chart, text};
use chart::Histogram;

/// Rows below which nothing is said about a rate.
const ROWS_LEAST: usize = 100;
/// Standard deviations that chance is not believed to explain.
const DEVIATIONS: f64 = 3.0;

/// The p-values of one model beside those of its calibration.
pub(super) struct Evidence {
    pub(super) model: String,
    pub(super) rows: String,
    /// `None` where nothing was judged yet.
    pub(super) histogram: Option<Histogram>,
    pub(super) promises: Vec<Promise>,
    pub(super) verdict: &'static str,
    pub(super) tone: Tone,
}

/// How many rows have a p-value of at most a promised rate.
pub(super) struct Promise {
    pub(super) what: &'static str,
    pub(super) share: String,
    pub(super) promised: String,
    pub(super) rows: String,
}

impl Evidence {
    /// `None` where there is no calibration.
    pub(super) fn of(model: &Model) -> Option<Self> {
        let serving = model.serving.as_ref()?;
        let calibration = serving.calibration.as_ref()?;
        let (live, clean) = (&serving.p_values, &calibration.p_values);
        let at_most = |alpha: f64| live.iter().filter(|p_value| **p_value <= alpha).count();
        let promise = |what, alpha: f64| {
            let rows = at_most(alpha);
            let share = text::percent(whole(rows), whole(live.len()));
            Promise { what, share, promised: text::promise(alpha), rows: text::size(rows) }
        };
        let promised = [serving.alpha, serving.alpha_flag];
        let above = |deviations: f64| {
            let (rows, most) = (live.len() as f64, clean.len().max(1) as f64);
            promised.iter().any(|alpha| {
                let deviation = (alpha * (1.0 - alpha) * (1.0 / rows + 1.0 / most)).sqrt();
                at_most(*alpha) as f64 / rows > alpha + deviations * deviation
            })
        };
        let (verdict, tone) = match live.len() {
            0 => ("nothing judged yet", Tone::Plain),
            1..ROWS_LEAST => ("too few rows to tell", Tone::Plain),
            _ if above(DEVIATIONS) => ("more than promised", Tone::Warn),
            _ if above(0.0) => ("within chance", Tone::Plain),
            _ => ("as promised", Tone::Good),
        };
        Some(Self {
            model: format!("{} {}", model.name, model.version),
            rows: text::size(live.len()),
            histogram: (!live.is_empty() && !clean.is_empty()).then(|| chart::histogram(live, clean)),
            promises: vec![promise("kept back", serving.alpha), promise("with flags", serving.alpha_flag)],
            verdict,
            tone,
        })
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
