//! In which order is it measured? A B, B A, A B, …: what drifts in time, as a machine that warms up, meets all alike.

use super::arrivals::schedule;
use super::bare::Anchor;
use super::load::{self, Callers};
use super::result::{self, Load};
use super::tally::Tally;
use crate::cli::Failure;
use std::time::Duration;

/// How long everything takes.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub load: Load,
    /// Blocks of each side.
    pub repetitions: usize,
    pub block: Duration,
    pub warmup: Duration,
    /// Calls of the warm-up, at least.
    pub warmup_calls: u64,
    /// For an answer.
    pub patience: Duration,
    pub seed: u64,
}

/// A warm-up of a server that does not come to its number of calls ends nevertheless.
const WARMUPS_MAX: usize = 20;

/// Everything that was measured of one side.
pub(super) struct Measured {
    pub all: Tally,
    pub blocks: Vec<result::Block>,
    elapsed: Duration,
    cpu: Duration,
}

/// What takes turns.
enum Turn {
    Server(usize),
    Bare,
}

/// The sides in the order of one round.
fn order(round: usize, servers: usize, has_bare: bool) -> Vec<Turn> {
    let mut turns: Vec<Turn> = (0..servers).map(Turn::Server).collect();
    turns.extend(has_bare.then_some(Turn::Bare));
    if !round.is_multiple_of(2) {
        turns.reverse();
    }
    turns
}

/// Warms all up, then measures them in turn; `told` hears of each round before it begins. The bare model's stands
/// behind those of the servers.
///
/// # Errors
/// The bare model fails, or the system has no timer.
pub(super) async fn measure(
    plan: &Plan,
    servers: &mut [Callers],
    mut bare: Option<&mut Anchor>,
    mut told: impl FnMut(usize),
) -> Result<(Vec<Measured>, Option<Measured>), Failure> {
    for server in servers.iter_mut() {
        warm_up(plan, server).await?;
    }
    if let Some(bare) = bare.as_deref_mut() {
        bare.block(plan.warmup)?;
    }
    let mut measured: Vec<Measured> = servers.iter().filter_map(|_| Measured::new()).collect();
    let mut of_bare = bare.is_some().then(Measured::new).flatten();
    for round in 0..plan.repetitions {
        told(round);
        for turn in order(round, servers.len(), bare.is_some()) {
            match turn {
                Turn::Server(at) => {
                    let (Some(server), Some(side)) = (servers.get_mut(at), measured.get_mut(at)) else {
                        continue;
                    };
                    side.note(&block(plan, server, round).await?);
                }
                Turn::Bare => {
                    let (Some(bare), Some(side)) = (bare.as_deref_mut(), of_bare.as_mut()) else { continue };
                    let (tally, elapsed) = bare.block(plan.block)?;
                    side.note(&load::Block { tally, elapsed, cpu: elapsed });
                }
            }
        }
    }
    Ok((measured, of_bare))
}

async fn warm_up(plan: &Plan, server: &mut Callers) -> Result<(), Failure> {
    let warmup = Plan { block: plan.warmup, seed: plan.seed.wrapping_sub(1), ..plan.clone() };
    let mut calls: u64 = 0;
    for _ in 0..WARMUPS_MAX {
        let warmed = block(&warmup, server, 0).await?;
        calls = calls.saturating_add(warmed.tally.calls());
        // Errors are told by what is measured.
        if calls >= plan.warmup_calls || warmed.tally.failures() > 0 {
            break;
        }
    }
    Ok(())
}

/// One block of a server. Both sides of a round have the same arrivals.
async fn block(plan: &Plan, server: &mut Callers, round: usize) -> Result<load::Block, Failure> {
    let Some(open) = &plan.load.open else { return Ok(server.closed(plan.block, plan.patience).await?) };
    let round = u64::try_from(round).unwrap_or(u64::MAX);
    let moments = schedule(open.arrivals, open.rate, plan.block, plan.seed.wrapping_add(round));
    Ok(server.open(&moments, plan.patience).await?)
}

impl Measured {
    fn new() -> Option<Self> {
        Some(Self { all: Tally::new()?, blocks: Vec::new(), elapsed: Duration::ZERO, cpu: Duration::ZERO })
    }

    fn note(&mut self, block: &load::Block) {
        self.all.add(&block.tally);
        self.elapsed = self.elapsed.saturating_add(block.elapsed);
        self.cpu = self.cpu.saturating_add(block.cpu);
        let latencies = block.tally.latencies().unwrap_or_default();
        self.blocks.push(result::Block {
            calls: block.tally.calls(),
            p50_us: latencies.p50,
            p99_us: latencies.p99,
            throughput_per_s: rate(block.tally.calls(), block.elapsed),
        });
    }

    /// Answered calls a second.
    pub(super) fn throughput(&self) -> f64 {
        rate(self.all.calls(), self.elapsed)
    }

    /// What a call cost this process, in microseconds.
    pub(super) fn cpu_us_per_call(&self) -> f64 {
        let calls = as_f64(self.all.calls().saturating_add(self.all.failures()).max(1));
        (self.cpu.as_secs_f64() * 1e8 / calls).round() / 1e2
    }

    /// The share of one core that this process used.
    pub(super) fn cpu_share(&self) -> f64 {
        let elapsed = self.elapsed.as_secs_f64();
        if elapsed > 0.0 { self.cpu.as_secs_f64() / elapsed } else { 0.0 }
    }
}

fn rate(calls: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (as_f64(calls) / seconds * 1e2).round() / 1e2 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(turns: &[Turn]) -> String {
        let name = |turn: &Turn| match turn {
            Turn::Server(0) => 'A',
            Turn::Server(_) => 'B',
            Turn::Bare => 'm',
        };
        turns.iter().map(name).collect()
    }

    #[test]
    fn sides_take_turns_and_each_comes_first_as_often_as_last() {
        let orders = |servers, bare| [0, 1, 2].map(|round| named(&order(round, servers, bare)));
        assert_eq!(orders(2, false), ["AB", "BA", "AB"]);
        assert_eq!(orders(2, true), ["ABm", "mBA", "ABm"]);
        assert_eq!(orders(1, true), ["Am", "mA", "Am"]);
        assert_eq!(orders(1, false), ["A", "A", "A"]);
    }

    #[test]
    fn a_block_without_an_answer_has_no_figures_and_is_kept() {
        let mut side = Measured::new().unwrap();
        let second = Duration::from_secs(1);
        side.note(&load::Block { tally: Tally::new().unwrap(), elapsed: second, cpu: second / 2 });
        let wanted = result::Block { calls: 0, p50_us: 0.0, p99_us: 0.0, throughput_per_s: 0.0 };
        assert_eq!(side.blocks, [wanted]);
        assert_eq!((side.throughput(), side.cpu_share()), (0.0, 0.5));
    }
}
