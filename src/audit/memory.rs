//! Where do records go when nothing outlives the process? A bounded list, for tests, benchmarks and simulation.

use super::{Ledger, LedgerError, Record};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The latest records, in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct MemoryLedger {
    records: Arc<Mutex<VecDeque<Record>>>,
    records_max: usize,
}

impl MemoryLedger {
    /// Keeps the latest `records_max` records, one at least.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self { records: Arc::default(), records_max: records_max.max(1) }
    }

    /// The records kept, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().cloned().collect()
    }

    /// The latest record.
    #[must_use]
    pub fn last(&self) -> Option<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.back().cloned()
    }
}

impl Ledger for MemoryLedger {
    fn append(&self, record: &Record) -> Result<(), LedgerError> {
        let mut records = self.records.lock().map_err(|_| LedgerError::Broken)?;
        while records.len() >= self.records_max {
            records.pop_front();
        }
        records.push_back(record.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_record_gives_way_and_clones_see_the_same() {
        let ledger = MemoryLedger::new(2);
        let other = ledger.clone();
        for number in 0..5 {
            ledger.append(&Record::trial(number)).unwrap();
        }
        let times: Vec<_> = other.records().iter().map(|record| record.time_us).collect();
        assert_eq!(times, [3, 4]);
        assert_eq!(other.last().unwrap().time_us, 4);
    }
}
