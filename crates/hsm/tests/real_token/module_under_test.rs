//! The module that the tests run on, and all in which one differs from another: SoftHSM, or Kryoptic with
//! `CHANCERY_TEST_MODULE=kryoptic`.

use chancery_hsm::{ModuleConfiguration, find_softhsm_module};
use chancery_model::Algorithm;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A module, and what is expected of it and not of every other.
pub struct ModuleUnderTest {
    /// Whether the tests run on it unless told otherwise.
    pub is_default: bool,
    pub library: PathBuf,
    pub configuration: ModuleConfiguration,
    /// Occurs in what its tokens say of who made them.
    pub manufacturer: &'static str,
    /// The algorithms that its tokens do not have; they have all others.
    pub lacks: &'static [Algorithm],
    /// Lengths in bytes of the keys of Wycheproof's sets that its tokens do not use for MACs. Never of ours.
    pub unusable_mac_keys: fn(Algorithm) -> &'static [usize],
    /// Whether a token goes on signing while it makes a key. Where not, what is to be signed waits.
    pub signs_while_generating: bool,
    /// Whether a worker notices that the files of its token are gone. Where not, it signs on, and the next worker does.
    pub notices_lost_files: bool,
}

impl ModuleUnderTest {
    pub fn offers(&self, algorithm: Algorithm) -> bool {
        !self.lacks.contains(&algorithm)
    }
}

pub fn module_under_test() -> &'static ModuleUnderTest {
    static MODULE: LazyLock<ModuleUnderTest> =
        LazyLock::new(|| match std::env::var("CHANCERY_TEST_MODULE").as_deref() {
            Err(_) | Ok("" | "softhsm") => softhsm(),
            Ok("kryoptic") => kryoptic(),
            Ok(other) => panic!("CHANCERY_TEST_MODULE is {other:?}; set it to softhsm or kryoptic, or unset it"),
        });
    &MODULE
}

fn softhsm() -> ModuleUnderTest {
    ModuleUnderTest {
        is_default: true,
        library: find_softhsm_module().expect("no SoftHSM here: run softhsm/install.sh"),
        configuration: ModuleConfiguration::softhsm(),
        manufacturer: "SoftHSM",
        lacks: &[Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87],
        unusable_mac_keys: |algorithm| match algorithm {
            // At least as long as the hash's output.
            Algorithm::HmacSha256 => &[16],
            Algorithm::HmacSha384 => &[24],
            Algorithm::HmacSha512 => &[32],
            _ => &[0, 1, 8, 20, 40],
        },
        signs_while_generating: true,
        notices_lost_files: true,
    }
}

fn kryoptic() -> ModuleUnderTest {
    let library = match std::env::var_os("KRYOPTIC_MODULE") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        // Beside target/<profile>/deps/<this program>.
        _ => std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("kryoptic/libkryoptic_pkcs11.so"),
    };
    assert!(library.is_file(), "{} is not there: run kryoptic/build.sh", library.display());
    ModuleUnderTest {
        is_default: false,
        library,
        configuration: ModuleConfiguration {
            variable: "KRYOPTIC_CONF".to_owned(),
            file_name: "token.conf".to_owned(),
            template: include_str!("../../../../kryoptic/token.conf.template").to_owned(),
        },
        manufacturer: "Kryoptic",
        lacks: &[Algorithm::EcdsaSecp256k1Sha256, Algorithm::EcdsaSecp256k1Keccak256],
        unusable_mac_keys: |algorithm| match algorithm {
            Algorithm::AesCmac => &[0, 1, 8, 20, 40],
            _ => &[],
        },
        signs_while_generating: false,
        notices_lost_files: false,
    }
}
