//! Compiles `proto/` without a system `protoc`, and keeps the descriptors for gRPC reflection.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let package = root.join("chancery/v1");
    println!("cargo:rerun-if-changed={}", package.display());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&package)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".chancery.v1.SignInput")
        .bytes(".chancery.v1.MacSignRequest")
        .bytes(".chancery.v1.MacVerifyRequest")
        .compile_fds(descriptors)?;
    Ok(())
}
