//! Hides how compact JSON is laid out for people, with its members in the order they are in.

/// A line for each member, indented by two spaces.
pub(super) fn laid_out(compact: &str) -> String {
    let mut text = String::with_capacity(compact.len() * 2);
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    let mut characters = compact.chars().peekable();
    while let Some(character) = characters.next() {
        if inside {
            text.push(character);
            inside = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                text.push(character);
                let end = if character == '{' { '}' } else { ']' };
                if characters.next_if_eq(&end).is_some() {
                    text.push(end);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(character);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                inside = character == '"';
                text.push(character);
            }
        }
    }
    text
}

fn line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_texts_stay_as_they_are() {
        let compact = r#"{"b":1.50,"a":{"x":[],"y":[1,{}]},"t":"{,:\\\"[","u":null}"#;
        let expected = r#"{
  "b": 1.50,
  "a": {
    "x": [],
    "y": [
      1,
      {}
    ]
  },
  "t": "{,:\\\"[",
  "u": null
}"#;
        assert_eq!(laid_out(compact), expected);
    }

    #[test]
    fn it_is_the_same_value() {
        for known in model::catalog::Catalog::vantagekit().types() {
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let compact = known.example.get();
            assert_eq!(value(&laid_out(compact)), value(compact), "{}", known.name);
        }
    }
}
