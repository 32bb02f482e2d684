//! Hides how a stranger's bytes are shown so that they can neither act nor deceive, and how much of a page they take. (Templates escape what
//! would be markup; this is about characters that hide or reorder others.)

/// Bytes as text: what is not UTF-8 replaced, characters that cannot be seen or that move others named in
/// their place, and no more than `most` bytes of it. Whether all of it is there.
pub(super) fn harmless(bytes: &[u8], most: usize) -> (String, bool) {
    let shown = &bytes[..bytes.len().min(most)];
    let mut text = String::with_capacity(shown.len());
    for character in String::from_utf8_lossy(shown).chars() {
        match character {
            '\n' | '\t' => text.push(character),
            // CR LF is a line end; a CR alone would hide what stands before it in a terminal.
            '\r' => {}
            '\0'..='\x1f' => push(&mut text, 0x2400 + character as u32),
            '\x7f' => text.push('\u{2421}'),
            _ if deceives(character) => {
                text.push_str(&format!("\u{27e8}U+{:04X}\u{27e9}", character as u32));
            }
            _ => text.push(character),
        }
    }
    (text, shown.len() == bytes.len())
}

/// How long a text is in a page, where what would be markup is escaped.
pub(super) fn escaped_len(text: &str) -> usize {
    let markup = |byte: &u8| b"&<>\"'".contains(byte);
    // As `&#38;`.
    text.len() + 4 * text.bytes().filter(|byte| markup(byte)).count()
}

fn push(text: &mut String, code: u32) {
    text.push(char::from_u32(code).unwrap_or('\u{fffd}'));
}

/// Control characters, and those without a width or that turn the direction of others.
fn deceives(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_and_nothing_moves() {
        for (bytes, text) in [
            (&b"ok\r\n\tyes"[..], "ok\n\tyes"),
            (b"\x00\x1b[31m\x7f", "\u{2400}\u{241b}[31m\u{2421}"),
            (b"a\xffb", "a\u{fffd}b"),
            (
                "gnp.\u{202e}exe\u{200b}".as_bytes(),
                "gnp.⟨U+202E⟩exe⟨U+200B⟩",
            ),
            ("Grüße 🎉 <b>".as_bytes(), "Grüße 🎉 <b>"),
        ] {
            assert_eq!(harmless(bytes, 100), (text.to_owned(), true), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_long_is_cut_even_inside_a_character() {
        let (text, whole) = harmless("aé".as_bytes(), 2);
        assert_eq!((text.as_str(), whole), ("a\u{fffd}", false));
    }
}
