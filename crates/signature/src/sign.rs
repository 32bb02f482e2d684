//! Hides how a secret becomes keys, and how a message is laid out, hashed and written as a header value.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a Standard Webhooks secret starts with; the base64 of its key follows.
pub(crate) const SECRET_PREFIX: &str = "whsec_";
/// What a value of the VantageKit scheme starts with; 64 hex digits follow.
pub(crate) const HEX_PREFIX: &str = "sha256=";
/// What a signature of the Standard Webhooks scheme starts with; base64 of 32 bytes follows.
pub(crate) const STANDARD_PREFIX: &str = "v1,";

/// The bytes of one HMAC-SHA256.
pub(crate) type Digest = [u8; 32];

/// A header value of the VantageKit scheme: `sha256=` and 64 lower-case hex digits.
pub type HexSignature = SignatureText<71>;

/// One signature of the Standard Webhooks scheme: `v1,` and base64 of 32 bytes.
pub type StandardSignature = SignatureText<47>;

/// The text of a signature, `N` ASCII characters held in place: making one allocates nothing.
///
/// It has no `==` on purpose: a receiver compares in constant time, which
/// [`Verifier`](crate::Verifier) does.
#[derive(Clone, Copy)]
pub struct SignatureText<const N: usize>([u8; N]);

impl<const N: usize> SignatureText<N> {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII is ever written into it")
    }
}

impl<const N: usize> AsRef<str> for SignatureText<N> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> fmt::Display for SignatureText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for SignatureText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignatureText({})", self.as_str())
    }
}

/// One HMAC key with its first block already hashed; a copy of that state signs a message.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// The digest of the parts one after another.
    pub(crate) fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Everything needed to sign with one secret, in both schemes.
///
/// Make it once per secret and keep it: a signature then costs only the hashing of its message.
/// Any text serves as a secret:
///
/// - the VantageKit scheme is keyed with the whole text as UTF-8 bytes, prefix included;
/// - the Standard Webhooks scheme is keyed with the base64 after `whsec_`, the prefix being
///   optional and so is the padding. Where that is empty or not base64, it is keyed with the
///   whole text's bytes, which a Standard Webhooks library accepts as a "raw" secret.
#[derive(Clone)]
pub struct SigningKeys {
    pub(crate) vantagekit: Key,
    pub(crate) standard: Key,
}

impl SigningKeys {
    /// The keys of a secret, given as the whole text that was shown when it was made.
    pub fn new(secret: &str) -> Self {
        let vantagekit = Key::new(secret.as_bytes());
        let standard = decoded(secret).map_or_else(|| vantagekit.clone(), |key| Key::new(&key));
        Self {
            vantagekit,
            standard,
        }
    }

    /// The value of `X-VantageKit-Signature` for a body sent at `timestamp` (Unix seconds): the
    /// HMAC-SHA256 of `{timestamp}.{body}`.
    pub fn vantagekit(&self, timestamp: i64, body: &[u8]) -> HexSignature {
        let timestamp = Decimal::new(timestamp);
        hex_text(&self.vantagekit.digest(&[timestamp.as_bytes(), b".", body]))
    }

    /// One value for `webhook-signature`, for the message `id` sent at `timestamp` (Unix
    /// seconds): the HMAC-SHA256 of `{id}.{timestamp}.{body}`. Several secrets' values are
    /// joined by a space.
    pub fn standard(&self, id: &str, timestamp: i64, body: &[u8]) -> StandardSignature {
        let timestamp = Decimal::new(timestamp);
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        standard_text(&self.standard.digest(&parts))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys(…)")
    }
}

/// The bytes that a secret's base64 stands for; none where it has no base64.
pub(crate) fn decoded(secret: &str) -> Option<Vec<u8>> {
    let text = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
    STANDARD_PAD_INDIFFERENT
        .decode(text)
        .ok()
        .filter(|key| !key.is_empty())
}

fn hex_text(digest: &Digest) -> HexSignature {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 71];
    let (prefix, digits) = text.split_at_mut(HEX_PREFIX.len());
    prefix.copy_from_slice(HEX_PREFIX.as_bytes());
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    SignatureText(text)
}

fn standard_text(digest: &Digest) -> StandardSignature {
    let mut text = [0; 47];
    let (prefix, rest) = text.split_at_mut(STANDARD_PREFIX.len());
    prefix.copy_from_slice(STANDARD_PREFIX.as_bytes());
    STANDARD
        .encode_slice(digest, rest)
        .expect("32 bytes are exactly 44 characters of base64");
    SignatureText(text)
}

/// A number written in decimal on the stack.
struct Decimal {
    digits: [u8; 20],
    length: usize,
}

impl Decimal {
    fn new(number: i64) -> Self {
        let mut text = Self {
            digits: [0; 20],
            length: 0,
        };
        write!(text, "{number}").expect("an i64 has at most 20 characters");
        text
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }
}

impl fmt::Write for Decimal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let free = self.digits.get_mut(self.length..end).ok_or(fmt::Error)?;
        free.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification and its reference libraries.
    #[test]
    fn agrees_with_the_published_standard_webhooks_example() {
        let keys = SigningKeys::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = keys.standard(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.as_str(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn agrees_with_rfc_4231_on_hmac_sha256() {
        let digest = Key::new(b"Jefe").digest(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            hex_text(&digest).as_str(),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_standard_key_is_the_base64_else_the_whole_text() {
        let standard = |secret: &str| {
            SigningKeys::new(secret)
                .standard("id", 1, b"{}")
                .to_string()
        };
        assert_eq!(standard("whsec_AAECAw=="), standard("whsec_AAECAw"));
        assert_eq!(standard("whsec_AAECAw=="), standard("AAECAw=="));
        for odd in ["whsec_", "", "whsec_not base64!", "plain words", "geheim-ü"] {
            let raw = Key::new(odd.as_bytes()).digest(&[b"id.1.{}"]);
            assert_eq!(standard(odd), standard_text(&raw).as_str(), "{odd:?}");
        }
    }

    #[test]
    fn every_timestamp_fits() {
        for number in [i64::MIN, -1, 0, 7, 1_700_000_000, i64::MAX] {
            assert_eq!(
                Decimal::new(number).as_bytes(),
                number.to_string().as_bytes()
            );
        }
    }

    #[test]
    fn keys_are_never_printed_and_go_anywhere() {
        fn anywhere<T: Clone + Send + Sync + 'static>(_: &T) {}
        let keys = SigningKeys::new("whsec_AAECAw==");
        anywhere(&keys);
        assert_eq!(format!("{keys:?}"), "SigningKeys(…)");
    }
}
