//! Lies: about signatures, keys, attributes, searches and chance.

use crate::support::*;
use chancery_pkcs11_fault::{AttributeLie, AttributeValue, Choice, Find, Rule, Then, Verdict};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};

on_each_module! {
    fn a_bit_of_a_signature_is_flipped(bed: &Bed) {
        let session = bed.log_in();
        // What it is can only be seen of what is the same each time.
        let secret = session
            .generate_key(&Mechanism::GenericSecretKeyGen, &[Attribute::Sign(true), Attribute::ValueLen(32.into())])
            .unwrap();
        let mac = || session.sign(&Mechanism::Sha256Hmac, secret, b"m").unwrap();
        let right = mac();
        for (bit, byte, mask) in [(0, 0, 1), (12, 1, 0x10), (255, 31, 0x80), (256, 0, 1)] {
            bed.faults.set(&[Rule::new("flip", Then::FlipBit(bit))]).unwrap();
            let mut expected = right.clone();
            expected[byte] ^= mask;
            assert_eq!(mac(), expected);
            bed.assert_happened(&[("C_Sign", "flip")]);
        }
        bed.faults.set(&[Rule::new("flip", Then::FlipBit(0)).when(|when| when.nth = Some(2))]).unwrap();
        let macs: Vec<_> = (0..3).map(|_| mac()).collect();
        assert_eq!((&macs[0], &macs[2]), (&right, &right));
        assert_ne!(macs[1], right);
        bed.faults.clear().unwrap();
        assert_eq!(mac(), right);
    }

    fn another_key_signs(bed: &Bed) {
        let session = bed.log_in();
        let (public_a, a) = make_pair(&session, "a").unwrap();
        let (public_b, _) = make_pair(&session, "b").unwrap();
        let points = (point(&session, public_a), point(&session, public_b));
        let choices = [Choice::Any, Choice::Label("b".to_owned()), Choice::Id("62".to_owned())];
        for choice in choices {
            bed.faults.set(&[Rule::new("swap", Then::OtherKey(choice))]).unwrap();
            let signature = sign(&session, a, b"m").unwrap();
            assert!(!is_valid(&points.0, b"m", &signature) && is_valid(&points.1, b"m", &signature));
            bed.assert_happened(&[("C_SignInit", "swap")]);
        }
        bed.faults.clear().unwrap();
        assert!(is_valid(&points.0, b"m", &sign(&session, a, b"m").unwrap()));

        // What cannot be done is not passed over.
        bed.faults.set(&[Rule::new("swap", Then::OtherKey(Choice::Label("c".to_owned())))]).unwrap();
        assert_eq!(code(sign(&session, a, b"m")), RvError::FunctionFailed);
        let complaint = bed.faults.log().unwrap_err().to_string();
        assert!(complaint.contains("rule swap") && complaint.contains("no such other key"), "{complaint}");
    }

    fn the_public_key_is_anothers(bed: &Bed) {
        let session = bed.log_in();
        let (public_a, _) = make_pair(&session, "a").unwrap();
        let (public_b, _) = make_pair(&session, "b").unwrap();
        let points = (point(&session, public_a), point(&session, public_b));
        bed.faults
            .set(&[Rule::new("swap", Then::OtherPublicKey(Choice::Any)).when(|when| when.label = Some("a".to_owned()))])
            .unwrap();
        assert_eq!(point(&session, public_a), points.1);
        assert_eq!(point(&session, public_b), points.1);
        let id = session.get_attributes(public_a, &[AttributeType::Id]).unwrap();
        assert_eq!(id, [Attribute::Id(b"a".to_vec())]);
        bed.faults.clear().unwrap();
        assert_eq!(point(&session, public_a), points.0);
        assert!(bed.happened().iter().all(|happened| *happened == ("C_GetAttributeValue".to_owned(), "swap".to_owned())));

        let rsa = |label: &str| {
            let public = [Attribute::ModulusBits(2_048.into()), Attribute::Label(label.as_bytes().to_vec())];
            session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &[]).unwrap().0
        };
        let modulus = |key| session.get_attributes(key, &[AttributeType::Modulus]).unwrap();
        let (one, two) = (rsa("one"), rsa("two"));
        assert_ne!(modulus(one), modulus(two));
        bed.faults.set(&[Rule::new("swap", Then::OtherPublicKey(Choice::Any)).when(|when| when.label = Some("one".to_owned()))]).unwrap();
        assert_eq!(modulus(one), modulus(two));
    }

    fn an_attribute_is_another(bed: &Bed) {
        let session = bed.log_in();
        let (_, key) = make_pair(&session, "a").unwrap();
        let read = || session.get_attributes(key, &[AttributeType::Extractable, AttributeType::Sensitive, AttributeType::Label]).unwrap();
        let right = read();
        assert_eq!(right, [Attribute::Extractable(false), Attribute::Sensitive(true), Attribute::Label(b"a".to_vec())]);
        let lie = |id, name: &str, value| Rule::new(id, Then::Attribute(AttributeLie { name: name.to_owned(), value }));
        bed.faults
            .set(&[
                lie("soft", "CKA_EXTRACTABLE", AttributeValue::Boolean(true)),
                lie("long", "CKA_LABEL", AttributeValue::Text("another".to_owned())),
            ])
            .unwrap();
        assert_eq!(read(), [Attribute::Extractable(true), Attribute::Sensitive(true), Attribute::Label(b"another".to_vec())]);
        let happened = bed.happened();
        assert!(happened.iter().any(|(_, rule)| rule == "soft") && happened.iter().any(|(_, rule)| rule == "long"));
        bed.faults.set(&[lie("kind", "CKA_KEY_TYPE", AttributeValue::Number(0))]).unwrap();
        let kind = session.get_attributes(key, &[AttributeType::KeyType]).unwrap();
        assert_eq!(kind, [Attribute::KeyType(cryptoki::object::KeyType::RSA)]);
        bed.faults.clear().unwrap();
        assert_eq!(read(), right);
    }

    fn a_search_finds_too_much_or_too_little(bed: &Bed) {
        let session = bed.log_in();
        let (public, private) = make_pair(&session, "a").unwrap();
        let find = || session.find_objects(&[Attribute::Label(b"a".to_vec())]).unwrap();
        // One handle at a time, as some programs ask.
        let find_each = || {
            let one = std::num::NonZeroUsize::MIN;
            let found = session.iter_objects_with_cache_size(&[Attribute::Label(b"a".to_vec())], one).unwrap();
            found.collect::<Result<Vec<_>, _>>().unwrap()
        };
        let right = find();
        assert!(right == [public, private] || right == [private, public]);
        assert_eq!(find_each(), right);

        bed.faults.set(&[Rule::new("twice", Then::Find(Find::Duplicate))]).unwrap();
        assert_eq!(find(), [right[0], right[0], right[1]]);
        assert_eq!(find_each(), [right[0], right[0], right[1]]);
        bed.faults.set(&[Rule::new("hidden", Then::Find(Find::Missing))]).unwrap();
        assert_eq!(find(), [right[1]]);
        assert_eq!(find_each(), [right[1]]);
        bed.assert_happened(&[("C_FindObjects", "twice"), ("C_FindObjects", "twice"), ("C_FindObjects", "hidden"), ("C_FindObjects", "hidden")]);
        bed.faults.clear().unwrap();
        assert_eq!((find(), find_each()), (right.clone(), right));
    }

    fn a_nonce_is_repeated(bed: &Bed) {
        let session = bed.log_in();
        let (public_a, a) = make_pair(&session, "a").unwrap();
        let (_, b) = make_pair(&session, "b").unwrap();
        bed.faults.set(&[Rule::new("again", Then::RepeatNonce)]).unwrap();
        let first = sign(&session, a, b"one").unwrap();
        assert!(is_valid(&point(&session, public_a), b"one", &first) && bed.happened().is_empty());
        let second = sign(&session, a, b"two").unwrap();
        assert_eq!(first[..32], second[..32]);
        assert_ne!(first[32..], second[32..]);
        // Each key has its own.
        assert_ne!(sign(&session, b, b"two").unwrap()[..32], first[..32]);
        bed.assert_happened(&[("C_Sign", "again")]);
        bed.faults.clear().unwrap();
        assert_ne!(sign(&session, a, b"two").unwrap()[..32], first[..32]);
    }

    fn verdicts_are_false_and_chance_is_none(bed: &Bed) {
        let session = bed.log_in();
        let (public, private) = make_pair(&session, "a").unwrap();
        let right = sign(&session, private, b"m").unwrap();
        let verify = |signature: &[u8]| session.verify(&Mechanism::Ecdsa, public, &hash(b"m"), signature);
        let wrong = sign(&session, private, b"another").unwrap();
        bed.faults.set(&[Rule::new("yes", Then::Verify(Verdict::Yes))]).unwrap();
        verify(&right).unwrap();
        assert!(bed.happened().is_empty());
        verify(&wrong).unwrap();
        verify(&right[..10]).unwrap();
        bed.faults.set(&[Rule::new("no", Then::Verify(Verdict::No))]).unwrap();
        assert_eq!(code(verify(&right)), RvError::SignatureInvalid);
        bed.assert_happened(&[("C_Verify", "yes"), ("C_Verify", "yes"), ("C_Verify", "no")]);
        bed.faults.clear().unwrap();
        verify(&right).unwrap();
        assert_eq!(code(verify(&wrong)), RvError::SignatureInvalid);

        bed.faults.set(&[Rule::new("dull", Then::Zeros)]).unwrap();
        assert_eq!(session.generate_random_vec(32).unwrap(), [0; 32]);
        bed.assert_happened(&[("C_GenerateRandom", "dull")]);
        bed.faults.clear().unwrap();
        assert_ne!(session.generate_random_vec(32).unwrap(), [0; 32]);
    }
}
