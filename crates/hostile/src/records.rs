//! Hides how TLS records are made that no TLS library would make.

use std::io;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt};

const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// How much padding a record has that has nothing else.
const PADDING: usize = 200;
const TAG: usize = 16;
/// How much content a record may have.
const CONTENT_MAX: usize = 1 << 14;

/// Makes records of TLS 1.3 from where a session has come to.
pub(crate) struct Sealer {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Sealer {
    pub(crate) fn new(session: ServerConnection) -> io::Result<Self> {
        let secrets = session.dangerous_extract_secrets();
        let (sequence, secrets) = secrets.map_err(io::Error::other)?.tx;
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(io::Error::other("another cipher than TLS 1.3 has")),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(io::Error::other)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().map_err(io::Error::other)?,
            sequence,
        })
    }

    /// A record that holds `inner`: content, its type, and padding.
    pub(crate) fn record(&mut self, mut inner: Vec<u8>) -> io::Result<Vec<u8>> {
        let length = u16::try_from(inner.len() + TAG).map_err(io::Error::other)?;
        let [high, low] = length.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut inner)
            .map_err(io::Error::other)?;
        Ok([&header[..], &inner].concat())
    }
}

/// Records that hold padding and nothing else, rightly encrypted: with a content's type before it, or without even
/// that.
pub(crate) fn of_padding(
    session: ServerConnection,
    records: usize,
    typed: bool,
) -> io::Result<Vec<u8>> {
    let mut sealer = Sealer::new(session)?;
    let mut bytes = Vec::new();
    for _ in 0..records {
        let mut inner = if typed {
            vec![APPLICATION_DATA]
        } else {
            vec![]
        };
        inner.resize(inner.len() + PADDING, 0);
        bytes.extend(sealer.record(inner)?);
    }
    Ok(bytes)
}

/// What a record holds that is full of session tickets (RFC 8446, 4.6.1), of a usual length.
pub(crate) fn tickets() -> Vec<u8> {
    const LENGTH: u8 = 200;
    let mut ticket = vec![4, 0, 0, LENGTH + 13];
    ticket.extend([0, 0, 14, 16, 0, 0, 0, 0, 0]); // It holds for an hour; no nonce.
    ticket.extend([0, LENGTH]);
    ticket.resize(ticket.len() + usize::from(LENGTH), 7);
    ticket.extend([0, 0]); // No extensions.
    let mut inner = ticket.repeat(CONTENT_MAX / ticket.len());
    inner.push(HANDSHAKE);
    inner
}

/// What a server's hello has in place of random bytes where it asks for another one of the client's (RFC 8446,
/// 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Groups that clients know and offer no key of unasked: secp256r1 and secp384r1.
pub(crate) const GROUPS: [u16; 2] = [0x17, 0x18];

/// Reads a client's hello; the id of the session it wants to take up, which the answer has to repeat.
pub(crate) async fn read_hello<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<Vec<u8>> {
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await?;
        let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        stream.read_exact(&mut record).await?;
        if header[0] == HANDSHAKE {
            // Behind the message's kind and length, the version and the random bytes.
            let length = usize::from(record.get(38).copied().unwrap_or_default());
            let id = record
                .get(39..39 + length)
                .ok_or_else(|| io::Error::other("no hello"))?;
            return Ok(id.to_vec());
        }
    }
}

/// A HelloRetryRequest: another hello is wanted, with a key of this group.
pub(crate) fn hello_retry(session: &[u8], group: u16) -> Vec<u8> {
    let [high, low] = group.to_be_bytes();
    let mut body = vec![3, 3];
    body.extend(RETRY);
    body.push(session.len() as u8);
    body.extend(session);
    body.extend([0x13, 0x01, 0]); // AES-128-GCM, no compression
    body.extend([0, 12, 0, 0x2b, 0, 2, 3, 4, 0, 0x33, 0, 2, high, low]); // TLS 1.3; the group
    let length = body.len() as u8;
    let mut record = vec![HANDSHAKE, 3, 3, 0, length + 4, 2, 0, 0, length];
    record.extend(body);
    record
}
