//! Hides how the documented receivers are shown with an endpoint's secret in them: the very files of
//! `docs/receivers`, which the project's tests run, so that what people copy cannot drift.

use model::brand::Brand;

/// A receiver to copy.
pub(super) struct Example {
    pub(super) language: &'static str,
    pub(super) id: &'static str,
    pub(super) file: &'static str,
    pub(super) code: String,
    pub(super) run: String,
    /// Whether the secret is in it.
    pub(super) filled: bool,
}

struct Source {
    language: &'static str,
    id: &'static str,
    file: &'static str,
    code: &'static str,
    /// What reads the secret from the environment, to be replaced by the secret itself.
    reads: &'static str,
    /// How a text is written there.
    write: fn(&str) -> String,
    run: &'static str,
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

const SOURCES: [Source; 4] = [
    Source {
        language: "Node.js",
        id: "node",
        file: "receiver.mjs",
        code: include_str!("../../../../docs/receivers/node/receiver.mjs"),
        reads: "process.env.WEBHOOK_SECRET",
        write: quoted,
        run: "PORT=3000 node receiver.mjs",
    },
    Source {
        language: "Python",
        id: "python",
        file: "receiver.py",
        code: include_str!("../../../../docs/receivers/python/receiver.py"),
        reads: "os.environ.get(\"WEBHOOK_SECRET\")",
        write: quoted,
        run: "PORT=3000 python3 receiver.py",
    },
    Source {
        language: "Go",
        id: "go",
        file: "main.go",
        code: include_str!("../../../../docs/receivers/go/receiver.go"),
        reads: "os.Getenv(\"WEBHOOK_SECRET\")",
        write: quoted,
        run: "PORT=3000 go run main.go",
    },
    Source {
        language: "Rust",
        id: "rust",
        file: "main.rs",
        code: include_str!("../../../../docs/receivers/rust/receiver.rs"),
        reads: "std::env::var(\"WEBHOOK_SECRET\").map_err(\n        |_| \"WEBHOOK_SECRET is not set: set it to the endpoint's secret, whsec_ included.\",\n    )?",
        write: |text| format!("String::from(\"{text}\")"),
        run: "PORT=3000 cargo run",
    },
];

/// The receivers of all languages: with this secret in them, or reading it from the environment.
pub(super) fn examples(secret: Option<&str>, brand: &Brand) -> Vec<Example> {
    let example = |source: &Source| Example {
        language: source.language,
        id: source.id,
        file: source.file,
        filled: secret.is_some(),
        code: branded(&filled(source, secret), brand),
        run: match secret {
            Some(_) => source.run.to_owned(),
            None => format!("WEBHOOK_SECRET=whsec_… {}", source.run),
        },
    };
    SOURCES.iter().map(example).collect()
}

fn filled(source: &Source, secret: Option<&str>) -> String {
    match secret {
        // A secret is base64 after its prefix: it needs no escaping in any of these languages.
        Some(secret) => source.code.replace(source.reads, &(source.write)(secret)),
        None => source.code.to_owned(),
    }
}

/// With the headers of a product that ships under its own name.
fn branded(code: &str, brand: &Brand) -> String {
    let default = Brand::default();
    if brand.header_prefix == default.header_prefix {
        return code.to_owned();
    }
    let lower = brand.header_prefix.to_ascii_lowercase();
    let own = format!(
        "Verifier::new(&secret).with_header_prefix({})",
        quoted(&brand.header_prefix)
    );
    code.replace(&default.header_prefix, &brand.header_prefix)
        .replace(&default.header_prefix.to_ascii_lowercase(), &lower)
        .replace("Verifier::new(&secret)", &own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_receiver_takes_the_secret_in_one_place() {
        let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        for (source, example) in SOURCES
            .iter()
            .zip(examples(Some(secret), &Brand::default()))
        {
            let language = source.language;
            assert_eq!(source.code.matches(source.reads).count(), 1, "{language}");
            assert_eq!(example.code.matches(secret).count(), 1, "{language}");
        }
        for example in examples(None, &Brand::default()) {
            assert!(
                example.run.starts_with("WEBHOOK_SECRET="),
                "{}",
                example.run
            );
        }
    }

    #[test]
    fn a_product_of_another_name_has_its_own_headers_in_them() {
        let brand = Brand {
            header_prefix: "X-Acme".into(),
            ..Brand::default()
        };
        for example in examples(None, &brand) {
            let code = example.code.to_lowercase();
            assert!(
                code.matches("x-acme").count() > 1 && !code.contains("x-vantagekit"),
                "{}",
                example.language
            );
        }
    }
}
