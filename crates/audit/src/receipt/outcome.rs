//! What a proven outcome says of a signature that somebody has: that it is one of those that were made.

use super::{Mismatch, Proven};
use crate::leaf::Body;
use chancery_crypto::{ecdsa_fixed_from_der, sha256};
use chancery_model::{Curve, EcdsaEncoding};

/// The curves that ECDSA signs on. An outcome does not say on which one.
const CURVES: [Curve; 4] = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];

impl Proven {
    /// The record that this signature was made for, by what the outcome says: it has the SHA-256 of each signature that was
    /// made, of an ECDSA signature in its fixed-width form, r || s. What was signed, and with which key, the record of the
    /// intent says.
    ///
    /// # Errors
    /// [`Mismatch::NotMade`] where none of them is this one; [`Mismatch::NotSaid`] where the record is no outcome.
    pub fn check_made(&self, signature: &[u8], encoding: EcdsaEncoding) -> Result<u64, Mismatch> {
        let index = self.index;
        let Body::Outcome { items, .. } = &self.leaf.body else {
            return Err(Mismatch::NotSaid { index, what: "which signature was made" });
        };
        // What is no ECDSA signature was hashed as it is, and what is one may be given in either form. The hash says exactly
        // which bytes are meant, so that trying all of them believes nothing that is not so.
        let mut forms = vec![sha256(signature)];
        if encoding == EcdsaEncoding::Der {
            let fixed = CURVES.into_iter().filter_map(|curve| ecdsa_fixed_from_der(curve, signature).ok());
            forms.extend(fixed.map(|fixed| sha256(&fixed)));
        }
        let made = items.iter().find(|item| item.signature_sha256.is_some_and(|made| forms.contains(&made)));
        made.map(|item| item.intent).ok_or(Mismatch::NotMade { index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::codes::OutcomeResult;
    use crate::details::Details;
    use crate::leaf::Leaf;
    use crate::note::KeyName;
    use crate::record::OutcomeItem;
    use chancery_crypto::ecdsa_der_from_fixed;
    use chancery_model::{Id, Timestamp};

    fn outcome(made: &[&[u8]]) -> Proven {
        let item = |(intent, signature): (u64, &&[u8])| OutcomeItem {
            intent,
            result: OutcomeResult::Done,
            signature_sha256: Some(sha256(signature)),
        };
        let failed = OutcomeItem { intent: 3, result: OutcomeResult::Failed, signature_sha256: None };
        let items = [failed].into_iter().chain((4..).zip(made).map(item)).collect();
        let leaf = Leaf {
            epoch: 1,
            time: Timestamp::from_unix_micros(0),
            instance: Id::parse("the instance", "one").unwrap(),
            body: Body::Outcome { continues: false, items, rows: Vec::new() },
            commitment: [0; 32],
        };
        let checkpoint = Checkpoint::new(&KeyName::parse("log.example/a").unwrap(), 13, [0; 32]);
        Proven { index: 9, leaf, details: Details::default(), checkpoint }
    }

    #[test]
    fn a_signature_is_known_again_in_either_form_and_no_other_is() {
        for curve in CURVES {
            let mut fixed = vec![0x81; 2 * curve.coordinate_bytes()];
            fixed[0] = 1;
            let der = ecdsa_der_from_fixed(curve, &fixed).unwrap();
            let proven = outcome(&[b"another", &fixed]);
            assert_eq!(proven.check_made(&der, EcdsaEncoding::Der).unwrap(), 5);
            assert_eq!(proven.check_made(&fixed, EcdsaEncoding::P1363).unwrap(), 5);
            assert!(proven.check_made(&der, EcdsaEncoding::P1363).is_err(), "in another form than is said");
            let other = ecdsa_der_from_fixed(curve, &vec![0x81; 2 * curve.coordinate_bytes()]).unwrap();
            assert!(matches!(proven.check_made(&other, EcdsaEncoding::Der), Err(Mismatch::NotMade { index: 9 })));
        }
        // Of Ed25519, RSA and MACs.
        assert_eq!(outcome(&[&[7; 64]]).check_made(&[7; 64], EcdsaEncoding::Der).unwrap(), 4);
        assert!(outcome(&[]).check_made(&[7; 64], EcdsaEncoding::Der).is_err());
    }

    #[test]
    fn what_is_no_outcome_says_of_no_signature_that_it_was_made() {
        let denied = Body::Denial {
            caller: chancery_model::Uid::NONE,
            resource: chancery_model::Uid::NONE,
            action: None,
            reason: crate::codes::DenialReason::UnknownResource,
            count: 1,
        };
        let proven = outcome(&[]);
        let proven = Proven { leaf: Leaf { body: denied, ..proven.leaf.clone() }, ..proven };
        assert!(matches!(proven.check_made(b"x", EcdsaEncoding::Der), Err(Mismatch::NotSaid { .. })));
    }
}
