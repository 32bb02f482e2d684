//! Hides how TLS is signed with an RSA key of 1,024 bits, which no TLS library of today does any more.

use aws_lc_rs::digest::{SHA256, digest};
use num_bigint::BigUint;
use rcgen::{PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::SignatureScheme;
use rustls::sign::{Signer, SigningKey};

/// The key (certificates/README.md).
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeakKey;

const PUBLIC: &[u8] = include_bytes!("../certificates/own-rsa-1024.public.der");
const MODULUS: &[u8; LENGTH] = include_bytes!("../certificates/own-rsa-1024.modulus");
const EXPONENT: &[u8; LENGTH] = include_bytes!("../certificates/own-rsa-1024.exponent");
const LENGTH: usize = 128;

/// What PKCS #1 puts before a SHA-256 digest.
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// What an authority is asked to certify.
impl PublicKeyData for WeakKey {
    fn der_bytes(&self) -> &[u8] {
        PUBLIC
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for WeakKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = offered.contains(&SignatureScheme::RSA_PKCS1_SHA256);
        fits.then(|| Box::new(*self) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        rustls::SignatureAlgorithm::RSA
    }
}

impl Signer for WeakKey {
    /// RSASSA-PKCS1-v1_5, as TLS 1.2 still has it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let hash = digest(&SHA256, message);
        let mut padded = vec![0xff; LENGTH];
        padded[..2].copy_from_slice(&[0, 1]);
        let info = LENGTH - hash.as_ref().len() - DIGEST_INFO.len();
        padded[info - 1] = 0;
        padded[info..][..DIGEST_INFO.len()].copy_from_slice(&DIGEST_INFO);
        padded[info + DIGEST_INFO.len()..].copy_from_slice(hash.as_ref());
        let [modulus, exponent] = [MODULUS, EXPONENT].map(|bytes| BigUint::from_bytes_be(bytes));
        let signed = BigUint::from_bytes_be(&padded).modpow(&exponent, &modulus);
        let signed = signed.to_bytes_be();
        let mut signature = vec![0; LENGTH - signed.len()];
        signature.extend(signed);
        Ok(signature)
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PKCS1_SHA256
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
        UnparsedPublicKey,
    };

    use super::*;

    /// So it is its length that it is refused for, and not what it signed.
    #[test]
    fn what_it_signs_is_right_wherever_so_short_a_key_is_taken() {
        for number in 0..20 {
            let message = format!("message {number}");
            let signature = WeakKey.sign(message.as_bytes()).unwrap();
            let legacy =
                UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, PUBLIC);
            assert!(legacy.verify(message.as_bytes(), &signature).is_ok());
            assert!(legacy.verify(b"another", &signature).is_err());
            let today = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC);
            assert!(today.verify(message.as_bytes(), &signature).is_err());
        }
    }
}
