//! Compiles `proto/` without protoc: messages once, and service stubs that point at those messages.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=tests/it/proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    ours(&out, "inference", (".inference", "crate::proto"))?;
    ours(&out, "asepsis", (".asepsis.v1", "crate::proto::operations"))?;
    models(&out)?;
    agent_of_the_tests(&out)
}

/// `proto/NAME.proto`: its descriptors, with those of what it imports, its messages and its services. The
/// messages of `package` stand in `module`.
fn ours(out: &Path, name: &str, (package, module): (&str, &str)) -> Result<(), Box<dyn Error>> {
    let mut compiled = protox::Compiler::new(["proto"])?;
    compiled.include_imports(true).open_file(format!("{name}.proto"))?;
    std::fs::write(out.join(format!("{name}.bin")), compiled.encode_file_descriptor_set())?;
    let descriptors = compiled.file_descriptor_set();

    let messages = out.join("messages");
    std::fs::create_dir_all(&messages)?;
    // `Bytes` for raw tensors: a slice of the received frame, not a copy of it.
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .out_dir(&messages)
        .compile_fds(descriptors.clone())?;

    let services = out.join("services");
    std::fs::create_dir_all(&services)?;
    tonic_prost_build::configure()
        .build_transport(false)
        // The count of elements before prost sees a message: src/transport/codec.rs.
        .codec_path("crate::transport::codec::BoundedCodec")
        .extern_path(package, module)
        .out_dir(&services)
        .compile_fds(descriptors)?;
    Ok(())
}

/// The messages of model files, and their descriptors, which tell what of a file is known.
fn models(out: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiled = protox::Compiler::new(["proto"])?;
    compiled.open_file("onnx.proto")?;
    std::fs::write(out.join("onnx.bin"), compiled.encode_file_descriptor_set())?;
    // `Bytes` for weights: a slice of the file, not a copy of it.
    let mut config = prost_build::Config::new();
    config.bytes(["."]).out_dir(out.join("messages")).compile_fds(compiled.file_descriptor_set())?;
    Ok(())
}

/// The server's side of the SPIFFE Workload API, for the tests' agent; no part of the library.
fn agent_of_the_tests(out: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiled = protox::Compiler::new(["tests/it/proto"])?;
    let descriptors = compiled.open_file("workload.proto")?.file_descriptor_set();
    let agent = out.join("agent");
    std::fs::create_dir_all(&agent)?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .out_dir(agent)
        .compile_fds(descriptors)?;
    Ok(())
}
