//! Hides a local receiver that shows what arrives, and may hand it on.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use http::Uri;
use local_receiver::{Answer, Arrival, Authority, Receiver};
use signature::{DEFAULT_HEADER_PREFIX, Scheme, Verifier};

use crate::client;
use crate::console::print_or_end;
use crate::serve::Signals;

use super::unix_now;

/// What `listen` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The port to listen on, at 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 4000)]
    port: u16,
    /// The endpoint's secret: deliveries are verified with it, and refused with 401 if not genuine
    #[arg(long, env = "VK_WEBHOOKS_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// What the signature headers start with
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_HEADER_PREFIX)]
    header_prefix: String,
    /// Speak HTTPS, and write the certificate to trust to this file (for serve's --ca-file)
    #[arg(long, value_name = "PEM")]
    https: Option<PathBuf>,
    /// Hand every genuine delivery on to this URL, as it came, and give back its answer
    #[arg(long, value_name = "URL")]
    forward_to: Option<String>,
}

struct Listener {
    verifier: Option<Verifier>,
    header_prefix: String,
    forward_to: Option<Uri>,
}

/// Listens until it is told to stop.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut signals = Signals::watch()?;
    let tls = match &options.https {
        None => None,
        Some(path) => {
            let authority = Authority::new()?;
            std::fs::write(path, authority.pem())
                .with_context(|| format!("cannot write {}", path.display()))?;
            Some(authority.server_config(&["localhost", "127.0.0.1"])?)
        }
    };
    let listener = Arc::new(Listener {
        verifier: options
            .secret
            .as_deref()
            .map(|secret| Verifier::new(secret).with_header_prefix(&options.header_prefix)),
        header_prefix: options.header_prefix,
        forward_to: options.forward_to.as_deref().map(target).transpose()?,
    });
    let unverified = listener.verifier.is_none();
    let handler = move |arrival| {
        let listener = Arc::clone(&listener);
        async move { listener.take(arrival).await }
    };
    let receiver = Receiver::start(options.port, tls, handler).await?;
    print_or_end(format_args!("listening on {}", receiver.url("/")));
    if unverified {
        print_or_end(format_args!("without --secret nothing is verified"));
    }
    if let Some(path) = &options.https {
        print_or_end(format_args!(
            "start the service with --ca-file {} to trust it",
            path.display()
        ));
    }
    let plain = if options.https.is_none() {
        " --allow-http"
    } else {
        ""
    };
    print_or_end(format_args!(
        "the service has to be started with --allow-cidr 127.0.0.1/32{plain} to reach it"
    ));
    signals.next().await;
    Ok(())
}

fn target(url: &str) -> Result<Uri> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    ensure!(
        uri.scheme().is_some() && uri.host().is_some(),
        "the URL to forward to starts with http:// or https://, unlike {url:?}"
    );
    Ok(uri)
}

impl Listener {
    async fn take(&self, arrival: Arrival) -> Answer {
        let event = arrival.header(&format!("{}-Event", self.header_prefix));
        let id = arrival.header(&format!("{}-Delivery", self.header_prefix));
        let (genuine, verdict) = self.judge(&arrival);
        print_or_end(format_args!(
            "\n{event} {id}: {verdict}\n{}",
            shown(&arrival.body)
        ));
        if !genuine {
            return Answer::status(401);
        }
        let Some(target) = &self.forward_to else {
            return Answer::status(200);
        };
        match client::forward(target, &arrival.headers, arrival.body.clone()).await {
            Ok((status, body)) => {
                print_or_end(format_args!("{target} answered {status}"));
                Answer::status(status).with_body(body)
            }
            Err(error) => {
                print_or_end(format_args!("{target} did not take it: {error:#}"));
                Answer::status(502)
            }
        }
    }

    fn judge(&self, arrival: &Arrival) -> (bool, String) {
        let Some(verifier) = &self.verifier else {
            return (true, "not verified".to_owned());
        };
        let now = unix_now();
        for scheme in [Scheme::VantageKit, Scheme::Standard] {
            let explained = verifier.explain(scheme, &arrival.headers, &arrival.body, now);
            if let Err(failure) = explained {
                return (false, format!("NOT genuine, answered 401: {failure}"));
            }
        }
        (true, "genuine".to_owned())
    }
}

/// A body for a terminal: control characters must not reach it.
fn shown(body: &[u8]) -> String {
    let keep = |letter: char| letter == '\n' || !letter.is_control();
    String::from_utf8_lossy(body)
        .chars()
        .map(|letter| if keep(letter) { letter } else { '\u{fffd}' })
        .collect()
}
