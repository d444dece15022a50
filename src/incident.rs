//! Does what happens still fit what was promised? Watchers look at closed requests, never at one alone.

pub mod flag_rate;
pub mod watchers;

pub use flag_rate::FlagRate;
pub use watchers::Watchers;

use serde::{Deserialize, Serialize};

/// Which watchers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Rows judged anomalous, against the rate that calibration promised.
    pub flag_rate: flag_rate::Settings,
}

impl Settings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The key to mend, below `watchers`, and why.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        self.flag_rate.check()
    }
}
