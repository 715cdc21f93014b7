//! Whether signatures and MACs are right, and how public keys are written.

use super::samples::{self, Pair, Sample, bare_point_bytes, destroy, is_high_s, is_right, make_pair, sample, sign};
use super::{Left, Patient, Teller};
use crate::HsmErrorKind;
use crate::worker::fault::Fault;
use crate::worker::{mechanism, probe};
use chancery_model::{Algorithm, KeyPurpose, KeyType};
use cryptoki::object::{Attribute, AttributeType};
use std::collections::HashSet;

/// Signatures that are made with each algorithm.
const EACH: u32 = 4;

/// Signatures on secp256k1, of which about half have a high S where nobody sees to it: all low by chance once in 2^32.
const FOR_LOW_S: u32 = 32;

pub(super) fn examine(told: &Teller<'_>, patient: &Patient) -> Result<(), Left> {
    let algorithms = samples::offered(patient, KeyPurpose::Signature);
    let mut right = Vec::new();
    let mut encodings = HashSet::new();
    let mut made: Option<(KeyType, Pair)> = None;
    for algorithm in algorithms {
        let key_type = algorithm.key_type();
        let pair = match made.take() {
            // The algorithms of one key type follow each other.
            Some((same, pair)) if same == key_type => {
                Pair { public: samples::public_key(algorithm, pair.public.spki_der())?, ..pair }
            }
            other => {
                if let Some((_, old)) = other {
                    destroy(&patient.writing, &[old.private, old.public_object])?;
                }
                told.step(format!("making a session key for {algorithm}"))?;
                let pair = make_pair(patient, algorithm)?;
                encodings.extend(encoding(patient, key_type, &pair)?);
                pair
            }
        };
        told.step(format!("signing for {algorithm}"))?;
        match signatures(patient, algorithm, &pair) {
            Ok(made) => {
                nonces(told, algorithm, &made)?;
                if made.iter().all(|(sample, signature)| is_right(&pair.public, sample, signature)) {
                    right.push(algorithm);
                } else {
                    told.stops(
                        format!("signatures for {algorithm} do not hold when they are checked in software"),
                        "do not use this token for it: Chancery checks each signature and lets no wrong one out, so calls would fail",
                    )?;
                }
            }
            Err(fault) => told.failed(&format!("signing for {algorithm}"), &fault)?,
        }
        if right.last() == Some(&Algorithm::EcdsaSecp256k1Sha256) {
            low_s(told, patient, algorithm, &pair)?;
        }
        made = Some((key_type, pair));
    }
    if let Some((_, old)) = made {
        destroy(&patient.writing, &[old.private, old.public_object])?;
    }
    if !right.is_empty() {
        told.ok(format!("signatures hold when they are checked in software, for {} algorithms", right.len()))?;
    }
    tell_encodings(told, &encodings)?;
    for algorithm in samples::offered(patient, KeyPurpose::Mac) {
        macs(told, patient, algorithm)?;
    }
    Ok(())
}

fn signatures(patient: &Patient, algorithm: Algorithm, pair: &Pair) -> Result<Vec<(Sample, Vec<u8>)>, Fault> {
    let one = |number| {
        let sample = sample(algorithm, number)?;
        let signature = sign(&patient.writing, algorithm, pair.private, &sample)?;
        Ok((sample, signature))
    };
    (0..EACH).map(one).collect()
}

/// The same r for two messages gives the private key away to whoever sees both signatures.
fn nonces(told: &Teller<'_>, algorithm: Algorithm, made: &[(Sample, Vec<u8>)]) -> Result<(), Left> {
    let KeyType::Ec(_) = algorithm.key_type() else { return Ok(()) };
    let r = |signature: &[u8]| signature.get(..signature.len() / 2).map(<[u8]>::to_vec);
    let different: HashSet<_> = made.iter().map(|(_, signature)| r(signature)).collect();
    if different.len() < made.len() {
        told.stops(
            format!("two signatures for {algorithm} over different messages have the same r: their nonce was used twice"),
            "stop: who sees two such signatures computes the private key. Every ECDSA key in this token is to be replaced",
        )?;
    }
    Ok(())
}

fn low_s(told: &Teller<'_>, patient: &Patient, algorithm: Algorithm, pair: &Pair) -> Result<(), Left> {
    told.step("signing on secp256k1, to see which half of the order s is in")?;
    let mut high = 0;
    for number in 0..FOR_LOW_S {
        let signature = sign(&patient.writing, algorithm, pair.private, &sample(algorithm, number)?)?;
        high += u32::from(is_high_s(&signature));
    }
    match high {
        0 => told.ok(format!("of {FOR_LOW_S} signatures on secp256k1 all have a low S"))?,
        _ => told.note(
            format!("of {FOR_LOW_S} signatures on secp256k1 {high} have a high S, which chains refuse"),
            "nothing: Chancery answers with the low S, and the recovery id that goes with it",
        )?,
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PointEncoding {
    Wrapped,
    Bare,
}

fn encoding(patient: &Patient, key_type: KeyType, pair: &Pair) -> Result<Option<PointEncoding>, Fault> {
    let Some(bare) = bare_point_bytes(key_type) else { return Ok(None) };
    let read = patient
        .writing
        .get_attributes(pair.public_object, &[AttributeType::EcPoint])
        .map_err(|error| Fault::pkcs11("reading a public point", &error))?;
    Ok(read.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) if point.len() == bare => Some(PointEncoding::Bare),
        Attribute::EcPoint(_) => Some(PointEncoding::Wrapped),
        _ => None,
    }))
}

fn tell_encodings(told: &Teller<'_>, encodings: &HashSet<PointEncoding>) -> Result<(), Left> {
    match (encodings.contains(&PointEncoding::Wrapped), encodings.contains(&PointEncoding::Bare)) {
        (true, false) => told.ok("public points are written as the standard asks, in a DER OCTET STRING")?,
        (false, true) => told.note(
            "public points are written bare, without the DER OCTET STRING that the standard asks for",
            "nothing: Chancery takes both; other programs may not",
        )?,
        (true, true) => told
            .note("some public points are written bare, some in a DER OCTET STRING", "nothing: Chancery takes both")?,
        (false, false) => {}
    }
    Ok(())
}

/// The token's own checking of MACs is what stands between a wrong MAC and its release.
fn macs(told: &Teller<'_>, patient: &Patient, algorithm: Algorithm) -> Result<(), Left> {
    told.step(format!("making and checking MACs for {algorithm}"))?;
    let session = &patient.writing;
    let key = probe::make_session_key(session, algorithm.key_type(), patient.edwards)?.signs;
    let Sample { message, .. } = sample(algorithm, 0)?;
    let with = mechanism::signing(algorithm)?;
    let mac = session
        .sign(&with, key, &message)
        .map_err(|error| Fault::pkcs11(format!("making a MAC for {algorithm}"), &error))?;
    let verdict = |mac: &[u8], message: &[u8]| -> Result<bool, Fault> {
        match session.verify(&with, key, message, mac) {
            Ok(()) => Ok(true),
            Err(error) => {
                let fault = Fault::pkcs11(format!("checking a MAC for {algorithm}"), &error);
                if fault.kind == HsmErrorKind::WrongSignature { Ok(false) } else { Err(fault) }
            }
        }
    };
    let mut wrong = mac.clone();
    if let Some(last) = wrong.last_mut() {
        *last ^= 1;
    }
    let (right, wrong, other) =
        (verdict(&mac, &message)?, verdict(&wrong, &message)?, verdict(&mac, b"another message")?);
    let again =
        session.sign(&with, key, &message).map_err(|error| Fault::pkcs11("making the MAC once more", &error))?;
    destroy(session, &[key])?;
    if Some(mac.len()) != algorithm.mac_bytes() {
        told.stops(format!("a MAC for {algorithm} has {} bytes", mac.len()), "do not use this token for it")?;
    } else if again != mac {
        told.stops(
            format!("two MACs of one message for {algorithm} differ"),
            "do not use this token for it: one of them is wrong",
        )?;
    } else if !right {
        told.stops(
            format!("the token calls its own MAC for {algorithm} wrong"),
            "do not use this token for it: MacSign would fail",
        )?;
    } else if wrong || other {
        told.stops(
            format!("the token calls a wrong MAC for {algorithm} right"),
            "Chancery compares MACs itself and is not deceived; every other program that asks this token to verify is",
        )?;
    } else {
        told.ok(format!("MACs for {algorithm} are right by the token's own check, which tells wrong ones, too"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::Curve;

    #[test]
    fn the_algorithms_of_one_key_type_follow_each_other() {
        let mut types: Vec<KeyType> = Algorithm::ALL.into_iter().map(Algorithm::key_type).collect();
        types.dedup();
        let twice = types.iter().filter(|key_type| types.iter().filter(|other| other == key_type).count() > 1);
        // RSA comes once for each padding; a key more is made, and nothing else happens.
        assert!(
            twice.clone().all(|key_type| matches!(key_type, KeyType::Rsa { .. })),
            "{:?}",
            twice.collect::<Vec<_>>()
        );
        assert!(types.contains(&KeyType::Ec(Curve::Secp256k1)));
    }
}
