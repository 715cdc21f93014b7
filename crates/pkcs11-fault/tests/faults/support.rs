//! A token in software behind the faulty module.
//!
//! A process has one module and one environment, so each test runs in a process of its own for each module to stand
//! behind: this program again, with the test's name and a folder.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use chancery_pkcs11_fault::{FaultRules, Injected, library};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Names the folder to a process that runs a test.
const FOLDER: &str = "PKCS11_FAULT_TEST_FOLDER";

pub const LABEL: &str = "behind";
pub const PIN: &str = "123456";
/// The OID of P-256, in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// A test: in the process that cargo starts, one more for each module; in those, what is written here.
macro_rules! on_each_module {
    ($($(#[$meta:meta])* fn $name:ident($bed:ident: &Bed) $body:block)+) => { $(
        #[test]
        $(#[$meta])*
        fn $name() {
            match $crate::support::Bed::here() {
                Some(bed) => {
                    let $bed = &bed;
                    $body
                }
                None => {
                    for place in $crate::support::Place::on_each_module() {
                        place.passes(concat!(module_path!(), "::", stringify!($name)));
                    }
                }
            }
        }
    )+ };
}
pub(crate) use on_each_module;

/// A folder with a module's files, in the process that cargo starts.
pub struct Place {
    folder: TempDir,
    behind: PathBuf,
    environment: (&'static str, PathBuf),
}

impl Place {
    /// One for each module that is there.
    pub fn on_each_module() -> Vec<Self> {
        let kryoptic = kryoptic().map(|library| {
            Self::new(library, "KRYOPTIC_CONF", include_str!("../../../../kryoptic/token.conf.template"))
        });
        let template = include_str!("../../../../softhsm/softhsm2.conf.template");
        [Some(Self::new(softhsm(), "SOFTHSM2_CONF", template)), kryoptic].into_iter().flatten().collect()
    }

    fn new(behind: PathBuf, variable: &'static str, template: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let configuration = folder.path().join("module.conf");
        std::fs::write(&configuration, template.replace("@TOKENS@", tokens.to_str().unwrap())).unwrap();
        Self { folder, behind, environment: (variable, configuration) }
    }

    pub fn faults(&self) -> FaultRules {
        FaultRules::new(self.folder.path()).unwrap()
    }

    pub fn run(&self, test: &str) -> Output {
        // Without the name of this program, which a module's path begins with.
        let (_, test) = test.split_once("::").unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--include-ignored"])
            .env(FOLDER, self.folder.path())
            .env(self.environment.0, &self.environment.1)
            .envs(self.faults_environment())
            .output()
            .unwrap()
    }

    fn faults_environment(&self) -> impl IntoIterator<Item = (String, String)> + use<> {
        // Not `self.faults()`: that would take rules away which are there.
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let path = |name| text(self.folder.path().join(name));
        [
            ("PKCS11_FAULT_MODULE".to_owned(), text(self.behind.clone())),
            ("PKCS11_FAULT_RULES".to_owned(), path("faults.toml")),
            ("PKCS11_FAULT_LOG".to_owned(), path("faults.log")),
        ]
    }

    pub fn passes(&self, test: &str) {
        let output = self.run(test);
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        // SoftHSM may crash as the process exits, when all is done.
        assert!(said.contains("1 passed"), "on {}: {said}{complained}{:?}", self.behind.display(), output.status);
    }
}

fn softhsm() -> PathBuf {
    let usual = ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib/aarch64-linux-gnu/softhsm"];
    let named = std::env::var_os("SOFTHSM2_MODULE").map(PathBuf::from);
    let usual = usual.into_iter().map(|folder| Path::new(folder).join("libsofthsm2.so"));
    named.into_iter().chain(usual).find(|path| path.is_file()).expect("no SoftHSM here: run softhsm/install.sh")
}

fn kryoptic() -> Option<PathBuf> {
    let named = std::env::var_os("KRYOPTIC_MODULE").map(PathBuf::from);
    // Beside target/<profile>/deps/<this program>.
    let built = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("kryoptic/libkryoptic_pkcs11.so");
    Some(named.unwrap_or(built)).filter(|path| path.is_file())
}

/// The token, in a process that runs a test.
pub struct Bed {
    pub faults: FaultRules,
    pub pkcs11: Pkcs11,
    pub slot: Slot,
}

impl Bed {
    /// None in the process that cargo starts.
    pub fn here() -> Option<Self> {
        let folder = std::env::var_os(FOLDER)?;
        let folder = Path::new(&folder);
        let pkcs11 = Pkcs11::new(library().unwrap()).unwrap();
        let faults =
            if folder.join("faults.toml").exists() { FaultRules::at(folder) } else { FaultRules::new(folder).unwrap() };
        initialise(&pkcs11);
        let slot = token(&pkcs11).unwrap_or_else(|| make_token(&pkcs11));
        Some(Self { faults, pkcs11, slot })
    }

    pub fn open(&self) -> Session {
        self.pkcs11.open_rw_session(self.slot).unwrap()
    }

    pub fn log_in(&self) -> Session {
        let session = self.open();
        session.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
        session
    }

    /// What the faults since the last time were: function, rule.
    pub fn happened(&self) -> Vec<(String, String)> {
        let log = self.faults.log().unwrap();
        self.faults.clear_log().unwrap();
        log.into_iter().map(|Injected { function, rule, .. }| (function, rule)).collect()
    }

    pub fn assert_happened(&self, faults: &[(&str, &str)]) {
        let happened = self.happened();
        let happened: Vec<_> = happened.iter().map(|(function, rule)| (function.as_str(), rule.as_str())).collect();
        assert_eq!(happened, faults);
    }
}

pub fn initialise(pkcs11: &Pkcs11) {
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
}

pub fn token(pkcs11: &Pkcs11) -> Option<Slot> {
    let slots = pkcs11.get_slots_with_token().unwrap();
    slots.into_iter().find(|slot| pkcs11.get_token_info(*slot).is_ok_and(|info| info.label() == LABEL))
}

fn make_token(pkcs11: &Pkcs11) -> Slot {
    let slot = pkcs11.get_slots_with_token().unwrap().remove(0);
    let so_pin = AuthPin::from("12345678");
    pkcs11.init_token(slot, &so_pin, LABEL).unwrap();
    // SoftHSM gives the new token's slot another number at the next start.
    pkcs11.clone().finalize().unwrap();
    initialise(pkcs11);
    let slot = token(pkcs11).unwrap();
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&so_pin)).unwrap();
    session.init_pin(&AuthPin::from(PIN)).unwrap();
    session.logout().unwrap();
    slot
}

/// A P-256 key pair of a label, which is its CKA_ID as well: public, private.
pub fn make_pair(session: &Session, label: &str) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let named =
        [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(label.as_bytes().to_vec())];
    let public = [&named[..], &[Attribute::EcParams(P256.to_vec()), Attribute::Verify(true)]].concat();
    let private = [
        &named[..],
        &[Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)],
    ]
    .concat();
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
}

pub fn count(session: &Session, label: &str) -> usize {
    session.find_objects(&[Attribute::Label(label.as_bytes().to_vec())]).unwrap().len()
}

pub fn hash(message: &[u8]) -> Vec<u8> {
    digest(&SHA256, message).as_ref().to_vec()
}

pub fn sign(session: &Session, key: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::Ecdsa, key, &hash(message))
}

/// The point of a public key, without the OCTET STRING in which some modules wrap it.
pub fn point(session: &Session, public: ObjectHandle) -> Vec<u8> {
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).unwrap();
    let Some(Attribute::EcPoint(point)) = attributes.into_iter().next() else { panic!("no point") };
    point.strip_prefix(&[0x04, 0x41]).map_or_else(|| point.clone(), <[u8]>::to_vec)
}

pub fn is_valid(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
}

/// The standard's code in a refusal.
pub fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> RvError {
    match result {
        Err(Error::Pkcs11(code, _)) => code,
        other => panic!("no return code: {other:?}"),
    }
}

pub fn private_keys(session: &Session) -> Vec<ObjectHandle> {
    session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()
}
