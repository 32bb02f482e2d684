//! Hides how text becomes part of a page: everything written into a template is escaped.

use std::fmt::{self, Display, Write};

/// A page in the making.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Appends a template that [`html!`] has filled with escaped values.
    pub(super) fn write(&mut self, filled: fmt::Arguments<'_>) {
        self.0
            .write_fmt(filled)
            .expect("writing to a string cannot fail");
    }

    /// The page's text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Appends a template to a page. Each value is escaped, so it may stand in text and in a quoted
/// attribute; there is no way to write one raw.
macro_rules! html {
    ($page:expr, $template:literal $(, $value:expr)* $(,)?) => {
        $page.write(format_args!($template $(, $crate::settings::html::Escaped(&$value))*))
    };
}
pub(super) use html;

/// A value whose text is escaped where it is written.
pub(super) struct Escaped<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Display + ?Sized> Display for Escaped<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            self.0.write_str(&rest[..at])?;
            self.0.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_into_a_page_stays_text() {
        let mut page = Html::default();
        let hostile = r#"é"><script>alert('1')</script>&amp;"#;
        html!(page, r#"<p title="{}">{}</p>"#, hostile, 7);
        assert_eq!(
            page.into_text(),
            "<p title=\"é&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;\">7</p>"
        );
    }
}
