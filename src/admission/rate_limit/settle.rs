//! What of a run is charged that nobody knew before it was over?

use super::{Account, Budgets, Charge, Unit};
use crate::clock::Now;
use std::time::Duration;

impl Budgets {
    /// Charges computing that was done beyond what was charged for it before: all of it, or what is left, since
    /// it is done and nobody can be refused any more.
    pub fn settle(&self, account: &Account, role: &str, model: &str, beyond: Duration, now: Now) {
        let at = self.at(now);
        let beyond_us = u64::try_from(beyond.as_micros()).unwrap_or(u64::MAX);
        for holder in [Some(self.caller(account)), self.role(role), self.model(model)].into_iter().flatten() {
            let (mut left, mut amount) = (beyond_us, beyond_us);
            while amount > 0 {
                if (Charge { holder, unit: Unit::Compute, amount }).take(at).is_ok() {
                    left = left.saturating_sub(amount);
                    amount = amount.min(left);
                } else {
                    amount /= 2;
                }
            }
        }
    }
}
