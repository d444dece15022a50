//! Which p-values did the last rows of a model get, by the calibration in use?

/// Rows that are kept.
pub const MAX: usize = 1_000;

/// The last of them, in a ring. Ranks of two calibrations are no one distribution: another one begins anew.
#[derive(Debug, Default)]
pub(super) struct PValues {
    /// SHA-256 of the calibration that ranked them.
    calibration: String,
    kept: Vec<f64>,
    /// Where the oldest stands once the ring is full.
    oldest: usize,
}

impl PValues {
    pub(super) fn extend(&mut self, calibration: &str, p_values: &[f64]) {
        if self.calibration != calibration {
            *self = Self { calibration: calibration.to_owned(), ..Self::default() };
        }
        // Of a batch that is longer than the ring only the end would stay.
        for p_value in p_values.iter().skip(p_values.len().saturating_sub(MAX)) {
            self.push(*p_value);
        }
    }

    fn push(&mut self, p_value: f64) {
        if self.kept.len() < MAX {
            self.kept.push(p_value);
            return;
        }
        if let Some(oldest) = self.kept.get_mut(self.oldest) {
            *oldest = p_value;
        }
        self.oldest = (self.oldest + 1) % MAX;
    }

    /// All that are kept of that calibration, in no order.
    pub(super) fn of(&self, calibration: &str) -> Vec<f64> {
        if self.calibration == calibration { self.kept.clone() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_come_only_the_last_thousand_stay() {
        let mut kept = PValues::default();
        let numbers: Vec<f64> = (0..2_500).map(f64::from).collect();
        kept.extend("a", &numbers[..1]);
        kept.extend("a", &numbers[1..700]);
        kept.extend("a", &numbers[700..]);
        let mut all = kept.of("a");
        all.sort_by(f64::total_cmp);
        assert_eq!(all, numbers[1_500..]);
        kept.push(2_500.0);
        assert!(kept.of("a").len() == MAX && !kept.of("a").contains(&1_500.0));
    }

    #[test]
    fn what_another_calibration_ranked_is_not_shown_and_not_mixed() {
        let mut kept = PValues::default();
        let numbers: Vec<f64> = (0..1_500).map(f64::from).collect();
        kept.extend("a", &numbers);
        assert_eq!(kept.of("b"), [0.0; 0]);
        kept.extend("b", &[0.5]);
        assert_eq!((kept.of("a"), kept.of("b")), (Vec::new(), vec![0.5]));
    }
}
