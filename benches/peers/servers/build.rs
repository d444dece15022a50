//! Compiles the protocol, as the sidecar's own build does, with tonic's own codec.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../../../proto";
    println!("cargo::rerun-if-changed={proto}");
    let mut compiled = protox::Compiler::new([proto])?;
    let descriptors = compiled.open_file("inference.proto")?.file_descriptor_set();
    // `Bytes` for raw tensors: a slice of the received frame, not a copy of it.
    tonic_prost_build::configure()
        .build_client(false)
        .generate_default_stubs(true)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
