//! Whether parameters are honoured, and inputs that do not fit refused. Chancery asks for none of this; who else uses the
//! token may, and a token that signs something else than it was told is to be known.

use super::samples::{destroy, is_right, make_pair, sample, sign};
use super::{Left, Patient, Teller};
use crate::worker::fault::Fault;
use chancery_model::Algorithm;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::types::Ulong;

pub(super) fn examine(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    if patient.facts.missing(Algorithm::Ed25519).is_none() {
        ed25519(told, patient)?;
    }
    if patient.facts.missing(Algorithm::RsaPss2048Sha256).is_none() {
        pss(told, patient)?;
    }
    if patient.facts.missing(Algorithm::EcdsaP256Sha256).is_none() {
        long_digest(told, patient)?;
    }
    Ok(())
}

/// Ed25519ph and Ed25519ctx are other signatures than Ed25519, over the same message and with the same key (RFC 8032).
fn ed25519(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    told.step("signing with the parameters of Ed25519ph and Ed25519ctx")?;
    let algorithm = Algorithm::Ed25519;
    let pair = make_pair(patient, algorithm)?;
    let sample = sample(algorithm, 0)?;
    for (name, scheme) in [
        ("Ed25519ph", EddsaSignatureScheme::Ed25519ph(&[])),
        ("Ed25519ctx", EddsaSignatureScheme::Ed25519ctx(b"chancery")),
    ] {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(scheme));
        match patient.writing.sign(&mechanism, pair.private, &sample.input) {
            Ok(signature) if is_right(&pair.public, &sample, &signature) => told.warning(
                format!("asked for {name}, the token answers with plain Ed25519 and says nothing"),
                "Chancery asks for plain Ed25519 alone; let no program that needs the other use this token",
            )?,
            Ok(_) => told.ok(format!("{name} is another signature than plain Ed25519, as it should be"))?,
            Err(error) => {
                told.ok(format!("{name} is refused ({})", Fault::pkcs11("", &error).message.trim_start_matches(": ")))?
            }
        }
    }
    Ok(destroy(&patient.writing, &[pair.private, pair.public_object])?)
}

fn pss(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    told.step("signing with RSA-PSS, with a salt of another length and with hashes that do not match")?;
    let algorithm = Algorithm::RsaPss2048Sha256;
    let pair = make_pair(patient, algorithm)?;
    let sample = sample(algorithm, 0)?;
    let salt = |bytes: usize| Ulong::try_from(bytes).map_err(|error| Fault::pkcs11("the length of a salt", &error));
    let ask = |hash_alg, mgf, s_len| {
        let mechanism = Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len });
        patient.writing.sign(&mechanism, pair.private, &sample.input)
    };
    // Verification takes a salt of 32 bytes and no other.
    match ask(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, salt(20)?) {
        Ok(signature) if is_right(&pair.public, &sample, &signature) => told.warning(
            "asked for a PSS salt of 20 bytes, the token takes one of 32 and says nothing",
            "Chancery asks for a salt as long as the hash, and checks; let no program that needs another use this token",
        )?,
        Ok(_) => told.ok("the length of a PSS salt is honoured")?,
        Err(_) => told.ok("a PSS salt shorter than the hash is refused")?,
    }
    match ask(MechanismType::SHA256, PkcsMgfType::MGF1_SHA512, salt(32)?) {
        Ok(signature) if is_right(&pair.public, &sample, &signature) => told.warning(
            "asked for PSS with MGF1 over another hash, the token takes the message's and says nothing",
            "Chancery asks for one hash in both places; let no program that needs two use this token",
        )?,
        Ok(_) => told
            .note("PSS with two different hashes is accepted", "nothing: Chancery asks for one hash in both places")?,
        Err(_) => told.ok("PSS with two different hashes is refused")?,
    }
    Ok(destroy(&patient.writing, &[pair.private, pair.public_object])?)
}

fn long_digest(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    told.step("signing more bytes than a digest has, with ECDSA on P-256")?;
    let algorithm = Algorithm::EcdsaP256Sha256;
    let pair = make_pair(patient, algorithm)?;
    let mut sample = sample(algorithm, 0)?;
    let whole = sample.input.len();
    sample.input.extend_from_slice(&[0xA5; 32]);
    match sign(&patient.writing, algorithm, pair.private, &sample) {
        // Right for the digest alone: the rest was cut off.
        Ok(signature) if is_right(&pair.public, &sample, &signature) => told.note(
            format!("of {} bytes the token signs the first {whole} on P-256 and says nothing", sample.input.len()),
            "nothing: Chancery gives it digests of the right length alone; other programs have to see to that, too",
        )?,
        Ok(_) => told.warning(
            format!(
                "given {} bytes to sign on P-256, the token makes something that is no signature of the first {whole}",
                sample.input.len()
            ),
            "Chancery gives it digests of the right length alone",
        )?,
        Err(_) => told.ok("inputs longer than a digest are refused on P-256")?,
    }
    Ok(destroy(&patient.writing, &[pair.private, pair.public_object])?)
}
