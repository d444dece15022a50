//! Compiles `proto/` without protoc: messages once, and service stubs that point at those messages.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiled = protox::Compiler::new(["proto"])?;
    compiled.open_file("inference.proto")?;
    let descriptors = compiled.file_descriptor_set();
    std::fs::write(out.join("inference.bin"), compiled.encode_file_descriptor_set())?;

    let messages = out.join("messages");
    std::fs::create_dir_all(&messages)?;
    // `Bytes` for raw tensors: a slice of the received frame, not a copy of it.
    prost_build::Config::new().bytes(["."]).out_dir(&messages).compile_fds(descriptors.clone())?;

    let services = out.join("services");
    std::fs::create_dir_all(&services)?;
    tonic_prost_build::configure()
        .build_transport(false)
        // The count of elements before prost sees a message: src/transport/codec.rs.
        .codec_path("crate::transport::codec::BoundedCodec")
        .extern_path(".inference", "crate::proto")
        .out_dir(&services)
        .compile_fds(descriptors)?;
    Ok(())
}
