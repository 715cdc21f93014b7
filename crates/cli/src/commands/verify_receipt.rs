//! `chancery verify --receipt`: what a receipt proves, without any service.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_audit::note::VerifierKey;
use chancery_audit::witness::{NotWitnessed, WitnessPolicy};
use chancery_audit::{Body, Details, Mismatch, Proven, Receipt, ReceiptError, TlogProofError};
use chancery_client::EcdsaEncoding;
use chancery_server::CallerAuthorities;
use chancery_server::config::IdentityKind;
use clap::Args;
use serde::Serialize;

use super::witnesses;
use crate::exit::{Exit, Failure};
use crate::input::{Hex, Source, hex};
use crate::output::{Output, View, fields, line};
use crate::view::audit::OutcomeView;
use crate::view::explained::{asked, decided, ends};
use crate::view::moment;
use crate::view::vouched::{Issuer, Vouched};

/// The options with which a receipt is verified.
#[derive(Debug, Args)]
pub struct ReceiptArguments {
    /// Verify this receipt (- is standard input), without any service
    #[arg(long, value_name = "FILE", requires = "log_key", help_heading = "Receipts")]
    pub receipt: Option<Source>,
    /// The log's key, as it was pinned (chancery audit log-key); several for a log that changed its key
    #[arg(long, value_name = "VKEY", value_parser = VerifierKey::parse, requires = "receipt", help_heading = "Receipts")]
    log_key: Vec<VerifierKey>,
    /// A witness's key: the receipt's checkpoint must be cosigned; again for more witnesses
    #[arg(long, value_name = "VKEY", value_parser = VerifierKey::parse, requires = "receipt", help_heading = "Receipts")]
    witness: Vec<VerifierKey>,
    /// How many of the witnesses must have cosigned; all of them where it is not given
    #[arg(long, value_name = "N", requires = "witness", value_parser = witnesses::required(), help_heading = "Receipts")]
    required_witnesses: Option<usize>,
    /// The record must have its caller's own signature, made for the service of this name
    #[arg(long, value_name = "NAME", requires = "receipt", help_heading = "Receipts")]
    audience: Option<String>,
    /// The record must have its caller's own signature, by a certificate with a SPIFFE id that an authority in this file (PEM)
    /// has issued (listener.client_ca of the service); again for more files
    #[arg(long, value_name = "FILE", requires = "receipt", help_heading = "Receipts")]
    client_ca: Vec<PathBuf>,
    /// The same, by a certificate with a DNS name
    #[arg(long, value_name = "FILE", requires = "receipt", help_heading = "Receipts")]
    client_ca_dns: Vec<PathBuf>,
    /// The public key of the version that signed, PEM or DER, to be checked against the receipt
    #[arg(long, value_name = "FILE", requires = "receipt", help_heading = "Receipts")]
    public_key: Option<Source>,
}

/// What somebody has beside the receipt.
#[derive(Debug)]
pub struct Beside {
    /// What was signed.
    pub message: Option<Source>,
    /// Or its digest.
    pub digest: Option<Hex>,
    /// The signature.
    pub signature: Option<Source>,
    /// How it is written down.
    pub encoding: EcdsaEncoding,
}

/// What is held against a receipt, read.
struct Given {
    message: Option<Vec<u8>>,
    digest: Option<Vec<u8>>,
    public_key: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
    encoding: EcdsaEncoding,
    /// What the caller's own signature is held to.
    expected: Expected,
}

/// What is expected of the caller's own signature.
#[derive(Default)]
struct Expected {
    /// Whom it has to be for.
    audience: Option<String>,
    /// Who has to have issued its certificate.
    authorities: Option<CallerAuthorities>,
}

/// What of it was held against the receipt, and fits.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Checked {
    input: bool,
    public_key: bool,
    signature: bool,
}

#[derive(Debug, Serialize)]
struct VerdictView {
    proven: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FaultView>,
    /// Absent where the receipt itself does not hold: then nothing in it is to be believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordView>,
    checked: Checked,
    /// Of an outcome: the record that the given signature was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_of: Option<u64>,
}

#[derive(Debug, Serialize)]
struct FaultView {
    part: &'static str,
    because: String,
}

#[derive(Debug, Serialize)]
struct RecordView {
    index: u64,
    kind: &'static str,
    time: String,
    log: String,
    tree_size: u64,
    root_hash: String,
    /// Those of the given witnesses that have cosigned the checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    witnesses: Vec<String>,
    /// Whether the caller's own signature of its request holds, where it made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_signature: Option<Vouched>,
    /// Of an outcome: how each intent or act ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outcomes: Vec<OutcomeView>,
    details: Details,
    /// What people read, line by line.
    #[serde(skip)]
    lines: Vec<(&'static str, String)>,
}

impl ReceiptArguments {
    /// Verifies, and says what came of it. A receipt or something beside it that does not fit is an answer: no.
    pub fn run(self, beside: Beside, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { receipt, log_key, witness, required_witnesses, audience, client_ca, client_ca_dns, public_key } =
            self;
        let receipt = receipt.ok_or_else(|| Failure::usage("--receipt names the receipt that is to be verified"))?;
        let witnesses = witnesses::policy(witness, required_witnesses)?;
        let expected = Expected { audience, authorities: authorities(client_ca, client_ca_dns)? };
        let given = Given { expected, ..Given::read(&receipt, public_key, beside)? };
        let bytes = receipt.read_receipt()?;
        let verdict = match verify(&bytes, &log_key, &witnesses) {
            Ok((proven, cosigned)) => given.verdict(proven, cosigned)?,
            Err(fault) => {
                let checked = Checked::default();
                VerdictView { proven: false, fault: Some(fault), record: None, checked, signature_of: None }
            }
        };
        out.show(&verdict)?;
        Ok(if verdict.proven { Exit::Done } else { Exit::No })
    }
}

/// Those of callers that were given, if any were.
fn authorities(spiffe: Vec<PathBuf>, dns: Vec<PathBuf>) -> Result<Option<CallerAuthorities>, Failure> {
    if spiffe.is_empty() && dns.is_empty() {
        return Ok(None);
    }
    let spiffe = spiffe.into_iter().map(|file| (file, IdentityKind::Spiffe));
    let files = spiffe.chain(dns.into_iter().map(|file| (file, IdentityKind::Dns)));
    let read = CallerAuthorities::read(files);
    read.map(Some).map_err(|error| Failure::local("the authorities of callers cannot be used").because(error))
}

/// What the receipt proves by itself, and the witnesses that have cosigned its checkpoint.
fn verify(
    bytes: &[u8],
    log_key: &[VerifierKey],
    witnesses: &WitnessPolicy,
) -> Result<(Proven, Vec<String>), FaultView> {
    let unproven = |error: ReceiptError| FaultView { part: part_of(&error), because: said(&error) };
    let unwitnessed = |error: NotWitnessed| FaultView { part: "WITNESSES", because: said(&error) };
    let receipt = Receipt::parse(bytes).map_err(unproven)?;
    let proven = receipt.verify(log_key).map_err(unproven)?;
    let cosigned = witnesses.check(receipt.checkpoint()).map_err(unwitnessed)?;
    Ok((proven, cosigned.iter().map(|one| one.key.name().to_string()).collect()))
}

impl Given {
    fn read(receipt: &Source, public_key: Option<Source>, beside: Beside) -> Result<Self, Failure> {
        let Beside { message, digest, signature, encoding } = beside;
        let sources = [Some(receipt), public_key.as_ref(), message.as_ref(), signature.as_ref()];
        if sources.into_iter().flatten().filter(|source| **source == Source::Standard).count() > 1 {
            return Err(Failure::usage(
                "only one of receipt, public key, message and signature can come from standard input",
            ));
        }
        Ok(Self {
            message: message.map(|source| source.read_signed()).transpose()?,
            digest: digest.map(|Hex(digest)| digest),
            public_key: public_key.map(|source| source.read_public_key()).transpose()?,
            signature: signature.map(|source| source.read_signature()).transpose()?,
            encoding,
            expected: Expected::default(),
        })
    }

    fn verdict(&self, proven: Proven, cosigned: Vec<String>) -> Result<VerdictView, Failure> {
        if self.signature.is_some() && self.public_key.is_none() && !ends_something(&proven) {
            return Err(Failure::usage("a signature is checked with the public key of the version that made it")
                .hint("give it with --public-key FILE: chancery public-key RING/KEY/VERSION --out FILE"));
        }
        let (mut checked, mut signature_of) = (Checked::default(), None);
        let fault = self.check(&proven, &mut checked, &mut signature_of).err();
        let fault = fault.map(|error| FaultView { part: part_of_mismatch(&error), because: said(&error) });
        let record = RecordView::of(proven, cosigned, self.expected.authorities.as_ref());
        let fault = fault.or_else(|| record.fault_of_caller_signature(&self.expected));
        Ok(VerdictView { proven: fault.is_none(), fault, record: Some(record), checked, signature_of })
    }

    /// Holds everything that was given against the record, up to the first that does not fit.
    fn check(&self, proven: &Proven, checked: &mut Checked, signature_of: &mut Option<u64>) -> Result<(), Mismatch> {
        if let Some(digest) = &self.digest {
            proven.check_digest(digest)?;
        }
        if let Some(message) = &self.message {
            proven.check_message(message)?;
        }
        checked.input = self.digest.is_some() || self.message.is_some();
        if let Some(signature) = self.signature.as_ref().filter(|_| ends_something(proven)) {
            // Which key made it is said by the record of the intent, and not by this one.
            *signature_of = Some(proven.check_made(signature, self.encoding)?);
            checked.signature = true;
            return Ok(());
        }
        let Some(der) = &self.public_key else { return Ok(()) };
        let key = proven.public_key(der)?;
        checked.public_key = true;
        if let Some(signature) = &self.signature {
            proven.check_signature(&key, self.message.as_deref(), signature, self.encoding)?;
            checked.signature = true;
        }
        Ok(())
    }
}

/// Whether a record says how something ended.
const fn ends_something(proven: &Proven) -> bool {
    matches!(proven.leaf.body, Body::Outcome { .. })
}

impl RecordView {
    fn of(proven: Proven, witnesses: Vec<String>, authorities: Option<&CallerAuthorities>) -> Self {
        let Proven { index, leaf, details, checkpoint } = proven;
        let mut lines = asked(&leaf, &details);
        lines.extend(decided(&leaf, &details));
        lines.extend(ends(&leaf, &details));
        let caller_signature = Vouched::of(&leaf, &details, authorities);
        lines.push(("caller's signature", caller_signature.as_ref().map(Vouched::in_words).unwrap_or_default()));
        Self {
            index,
            kind: leaf.kind().as_str(),
            time: moment(leaf.time),
            log: checkpoint.origin().to_owned(),
            tree_size: checkpoint.size(),
            root_hash: hex(checkpoint.root()),
            witnesses,
            caller_signature,
            outcomes: OutcomeView::all(&leaf),
            details,
            lines,
        }
    }

    fn fault_of_caller_signature(&self, expected: &Expected) -> Option<FaultView> {
        let Expected { audience, authorities } = expected;
        let fault = |part, because| Some(FaultView { part, because });
        match (&self.caller_signature, audience) {
            (Some(Vouched::Broken { why }), _) => {
                fault("CALLER_SIGNATURE", format!("the caller's own signature proves nothing of this record: {why}"))
            }
            (None, Some(audience)) => fault(
                "CALLER_SIGNATURE",
                format!("the record has no signature of its caller, and so none for {audience}"),
            ),
            (None, None) if authorities.is_some() => {
                let because =
                    "the record has no signature of its caller, and so no certificate to hold to the authorities";
                fault("CALLER_SIGNATURE", because.to_owned())
            }
            (None, None) => None,
            (Some(Vouched::Holds { audience: signed, .. }), Some(audience)) if signed != audience => {
                fault("CALLER_SIGNATURE", format!("the caller's own signature is for {signed}, and not for {audience}"))
            }
            (Some(Vouched::Holds { issuer: Issuer::NotTrusted(error), .. }), _) => {
                fault("CALLER_CERTIFICATE", error.to_string())
            }
            (Some(Vouched::Holds { issuer: Issuer::NotChecked | Issuer::Trusted, .. }), _) => None,
        }
    }

    /// Whether there is a certificate of the caller's of which nobody has looked who issued it.
    const fn leaves_the_issuer_open(&self) -> bool {
        matches!(self.caller_signature, Some(Vouched::Holds { issuer: Issuer::NotChecked, .. }))
    }
}

/// Which part of the receipt does not hold, for programs.
const fn part_of(error: &ReceiptError) -> &'static str {
    match error {
        ReceiptError::Proof(TlogProofError::TooLong(_) | TlogProofError::Form(_)) | ReceiptError::Record(_) => "FORM",
        ReceiptError::Proof(TlogProofError::Checkpoint(_)) => "CHECKPOINT",
        ReceiptError::Proof(TlogProofError::Inclusion(_)) => "INCLUSION",
        ReceiptError::Leaf(_) => "LEAF",
        ReceiptError::Commitment | ReceiptError::Details(_) => "DETAILS",
        ReceiptError::Contradiction(_) => "CONTRADICTION",
    }
}

/// What beside the receipt does not fit, for programs.
const fn part_of_mismatch(error: &Mismatch) -> &'static str {
    match error {
        Mismatch::NotASignature { .. } | Mismatch::NotSaid { .. } => "RECORD",
        Mismatch::Digest { .. } => "INPUT",
        Mismatch::PublicKey { .. } | Mismatch::Unusable(_) => "PUBLIC_KEY",
        Mismatch::Signature | Mismatch::NeedsMessage(_) | Mismatch::NotMade { .. } => "SIGNATURE",
    }
}

/// An error and what is behind it.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl View for VerdictView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.fault {
            None => line(out, "proven: this record is in the log")?,
            Some(fault) => line(out, &format!("NOT PROVEN: {}", fault.because))?,
        }
        let Some(record) = &self.record else { return Ok(()) };
        writeln!(out)?;
        let check = |done: bool, what: &str| if done { what.to_owned() } else { String::new() };
        let Checked { input, public_key, signature } = self.checked;
        let mut lines = vec![
            ("log", format!("{}, signed over {} records", record.log, record.tree_size)),
            ("witnesses", record.witnesses.join(", ")),
            ("record", format!("{}, {}", record.index, record.kind)),
            ("time", record.time.clone()),
        ];
        lines.extend(record.lines.iter().cloned());
        lines.push(("input", check(input, "what is given is what was signed")));
        lines.push(("key", check(public_key, "the public key is the one that the record says")));
        let made = self.signature_of.map(|index| format!("the one that was made for record {index}"));
        let valid = || check(signature, "valid: by this key over what was signed");
        lines.push(("signature", made.unwrap_or_else(valid)));
        if self.fault.is_none() {
            let issuer = !record.leaves_the_issuer_open();
            let given = [
                (input, "what was signed"),
                (public_key, "the public key"),
                (signature, "the signature"),
                (issuer, "who issued the caller's certificate (--client-ca)"),
            ];
            let missing: Vec<&str> = given.into_iter().filter(|(given, _)| !given).map(|(_, what)| what).collect();
            // What an outcome has nothing to say of is not to look forgotten.
            let elsewhere =
                if record.outcomes.is_empty() { "" } else { "; key and input: by the receipt of what it ends" };
            lines.push(("not checked", missing.join(", ") + elsewhere));
        }
        fields(out, lines)
    }
}
