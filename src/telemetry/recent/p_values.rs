//! Which p-values did the last rows of a model get?

/// Rows that are kept.
pub(super) const MAX: usize = 1_000;

/// The last of them, in a ring.
#[derive(Debug, Default)]
pub(super) struct PValues {
    kept: Vec<f64>,
    /// Where the oldest stands once the ring is full.
    oldest: usize,
}

impl PValues {
    pub(super) fn extend(&mut self, p_values: &[f64]) {
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

    /// All that are kept, in no order.
    pub(super) fn all(&self) -> Vec<f64> {
        self.kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_come_only_the_last_thousand_stay() {
        let mut kept = PValues::default();
        let numbers: Vec<f64> = (0..2_500).map(f64::from).collect();
        kept.extend(&numbers[..1]);
        kept.extend(&numbers[1..700]);
        kept.extend(&numbers[700..]);
        let mut all = kept.all();
        all.sort_by(f64::total_cmp);
        assert_eq!(all, numbers[1_500..]);
        kept.push(2_500.0);
        assert!(kept.all().len() == MAX && !kept.all().contains(&1_500.0));
    }
}
