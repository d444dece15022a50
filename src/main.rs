//! The `asepsis` command: arguments to `cli`, exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    asepsis::cli::main()
}
