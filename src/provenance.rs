//! Is this model file what it claims to be, and nothing else?

pub mod graph;
pub mod scan;
