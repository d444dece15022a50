//! The command line: one file a subcommand, and the exit codes that scripts rely on.

pub mod access;
pub mod audit;
pub mod bench;
pub mod calibrate;
mod caller;
pub mod certs;
pub mod check;
pub mod client;
pub mod contract;
pub mod demo;
pub mod evaluate;
pub mod image;
pub mod key;
pub mod model;
pub mod operations;
pub mod schema;
pub mod serve;
mod sets;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// A sidecar that lets nothing unclean reach a model, and nothing unsound leave it.
#[derive(Parser)]
#[command(name = "asepsis", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the models of a configuration.
    Serve(serve::Args),
    /// Say whether a configuration would start, with every problem at once.
    Check(check::Args),
    /// Print the JSON Schema of the configuration.
    Schema(schema::Args),
    /// Start a sidecar and show what it answers, flags, withholds and refuses.
    Demo(demo::Args),
    /// Send one request of each kind to a running sidecar.
    Client(client::Args),
    /// Ask something of a running sidecar as its operator.
    #[command(subcommand)]
    Operations(operations::Command),
    /// Make certificates for development.
    #[command(subcommand)]
    Certs(certs::Command),
    /// Issue, revoke or list API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Write or check a model's contract.
    #[command(subcommand)]
    Contract(contract::Command),
    /// Merge a model and its twin into one graph, or make an int8 model of one.
    #[command(subcommand)]
    Model(model::Command),
    /// Say what is in an image file, and what a model sees of it.
    #[command(subcommand)]
    Image(image::Command),
    /// Measure clean data and write a model's calibration.
    Calibrate(calibrate::Args),
    /// Say how often clean rows are let through and attacked ones noticed.
    Evaluate(evaluate::Args),
    /// Measure how fast a server answers, and whether it is slower than another or than it was.
    Bench(Box<bench::Args>),
    /// Explain what the access policy decides, or find what in it is probably not meant.
    #[command(subcommand)]
    Access(access::Command),
    /// Verify the audit log.
    #[command(subcommand)]
    Audit(audit::Command),
}

/// Why a command failed, by the exit code it gives.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong: 64.
    Usage(String),
    /// The configuration is wrong: 78.
    Configuration(String),
    /// Anything else: 1.
    Other(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = !error.use_stderr();
            // Printing can fail only where nobody reads.
            drop(error.print());
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(64) };
        }
    };
    let mut out = std::io::stdout().lock();
    let failure = match run(&arguments.command, &mut out) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let (code, message) = match failure {
        Failure::Usage(message) => (64, message),
        Failure::Configuration(message) => (78, message),
        Failure::Other(message) => (1, message),
    };
    drop(writeln!(std::io::stderr(), "{}", message.trim_end()));
    ExitCode::from(code)
}

fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Schema(args) => schema::run(args, out),
        Command::Demo(args) => demo::run(args, out),
        Command::Client(args) => client::run(args, out),
        Command::Operations(command) => operations::run(command, out),
        Command::Certs(command) => certs::run(command, out),
        Command::Key(command) => key::run(command, out),
        Command::Contract(command) => contract::run(command, out),
        Command::Model(command) => model::run(command, out),
        Command::Image(command) => image::run(command, out),
        Command::Calibrate(args) => calibrate::run(args, out),
        Command::Evaluate(args) => evaluate::run(args, out),
        Command::Bench(args) => bench::run(args, out),
        Command::Access(command) => access::run(command, out),
        Command::Audit(command) => audit::run(command, out),
    }
}
