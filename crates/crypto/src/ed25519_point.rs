//! Whether 32 bytes are a public key of Ed25519 that binds its holder to what he signs.
//!
//! aws-lc takes any 32 bytes for a key and finds out at the first signature; a key is pinned long before that.

use k256::elliptic_curve::bigint::modular::ConstMontyForm;
use k256::elliptic_curve::bigint::{JacobiSymbol, U256, const_monty_params};

const_monty_params!(
    FieldModulus,
    U256,
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
    "p = 2^255 - 19, the prime of edwards25519."
);

type Field = ConstMontyForm<FieldModulus, { U256::LIMBS }>;

const P: U256 = U256::from_be_hex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");

/// d = -121665/121666, the constant of the curve -x^2 + y^2 = 1 + d x^2 y^2 (RFC 8032, section 5.1).
const D: Field = Field::new(&U256::from_be_hex("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3"));

/// Whether the bytes are the canonical encoding of a point on edwards25519 (RFC 8032, section 5.1.3) whose
/// order is not one of 1, 2, 4 and 8. Under a key of such small order one signature fits many messages.
pub(crate) fn is_sound_public_key(encoded: &[u8; 32]) -> bool {
    // The top bit is the parity of x. Both parities exist for every x but zero, and x is zero only for two
    // of the points of small order: the bit cannot be wrong for a key that passes.
    let y = U256::from_le_slice(encoded) & (U256::MAX >> 1_u32);
    if y >= P {
        return false;
    }
    let y = Field::new(&y);
    let y2 = y.square();
    let numerator = y2 - Field::ONE;
    let denominator = D * y2 + Field::ONE;
    // x^2 = numerator / denominator, which is a square where the product is one. The denominator is never
    // zero, as d is no square; the numerator is zero for y = 1 and y = -1: the points of order 1 and 2.
    let x_exists = (numerator * denominator).jacobi_symbol_vartime() == JacobiSymbol::One;
    let order_4 = y == Field::ZERO;
    // Doubling gives y = 0 where x^2 + y^2 = 0.
    let order_8 = numerator + y2 * denominator == Field::ZERO;
    x_exists && !order_4 && !order_8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::sha256;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    fn sound(encoded: &str) -> bool {
        is_sound_public_key(&hex::decode(encoded).try_into().unwrap())
    }

    #[test]
    fn keys_of_key_pairs_are_sound() {
        for seed in 0..64_u8 {
            let pair = Ed25519KeyPair::from_seed_unchecked(&sha256(&[seed])).unwrap();
            assert!(is_sound_public_key(pair.public_key().as_ref().try_into().unwrap()));
        }
        // RFC 8032, section 7.1, test 1.
        assert!(sound("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
    }

    #[test]
    fn points_of_small_order_are_refused() {
        // With and without the sign bit, where that makes another point or another spelling of it.
        for encoded in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        ] {
            assert!(!sound(encoded), "{encoded}");
        }
    }

    #[test]
    fn numbers_from_p_on_are_refused() {
        // y = p + 3 is another spelling of y = 3, which is on the curve.
        assert!(sound("0300000000000000000000000000000000000000000000000000000000000000"));
        assert!(!sound("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"));
    }

    #[test]
    fn about_half_of_all_numbers_are_on_no_point() {
        let mut on_curve = 0;
        for index in 0..1000_u32 {
            on_curve += u32::from(is_sound_public_key(&sha256(&index.to_be_bytes())));
        }
        assert!((400..600).contains(&on_curve), "{on_curve} of 1000");
    }
}
