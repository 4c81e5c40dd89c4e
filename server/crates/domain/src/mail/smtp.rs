//! Sending by SMTP. The server is the operator's own choice and usually inside their network, so the guard for addresses
//! that tenants choose does not apply to it.

use core::{fmt, net::IpAddr, time::Duration};

use futures_util::future::BoxFuture;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters, TlsVersion},
        extension::ClientId,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{Letter, Mailer, SendError};

/// How long the server may take for one step.
const PATIENCE: Duration = Duration::from_secs(20);

/// How mails are sent, from the operator's settings.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// `smtp://` (STARTTLS, except to this machine itself) or `smtps://` (TLS from the start), with user and password.
    pub url: SecretString,
    /// Whom mails are from, as in [`parse_sender`].
    pub from: String,
    /// Certificates that are trusted besides those of the system, as PEM.
    pub extra_ca_pem: Option<Vec<u8>>,
}

/// Sends by SMTP.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("from", &self.from).finish_non_exhaustive()
    }
}

/// `name@example.com` or `Name <name@example.com>`, or why it is neither.
pub fn parse_sender(text: &str) -> Result<(), &'static str> {
    text.parse::<Mailbox>()
        .map(drop)
        .map_err(|_| "must be an address such as Gatehouse <gatehouse@example.com>")
}

fn decoded(text: &str) -> String {
    percent_encoding(text).unwrap_or_else(|| text.to_owned())
}

/// Decodes user and password of a URL.
fn percent_encoding(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(core::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl Smtp {
    /// A sender with these settings; it opens no connection yet.
    ///
    /// # Errors
    /// One sentence that names the setting and never its value.
    pub fn new(settings: &SmtpSettings) -> Result<Self, String> {
        const WRONG: &str = "GATEHOUSE_SMTP_URL must be smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465";
        let url = Url::parse(settings.url.expose_secret()).map_err(|_| WRONG)?;
        // An address is no more than text in a URL of this scheme.
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or(WRONG)?;
        let name = name.trim_matches(['[', ']']).to_owned();
        let here = name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let plain = match url.query() {
            None => here,
            Some("tls=none") => true,
            Some("tls=required") => false,
            Some(_) => {
                return Err("GATEHOUSE_SMTP_URL takes ?tls=required or ?tls=none and nothing else".into());
            }
        };
        let implicit = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(WRONG.into()),
        };
        let parameters = || -> Result<TlsParameters, String> {
            let mut builder = TlsParameters::builder(name.clone()).set_min_tls_version(TlsVersion::Tlsv12);
            if let Some(pem) = &settings.extra_ca_pem {
                let failed = "GATEHOUSE_EXTRA_CA_FILE holds no certificate in PEM form";
                builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(|_| failed)?);
            }
            builder.build_rustls().map_err(|why| format!("TLS for mail cannot be set up: {why}"))
        };
        let (tls, port) = match (implicit, plain) {
            (true, _) => (Tls::Wrapper(parameters()?), 465),
            (false, true) => (Tls::None, if here { 25 } else { 587 }),
            (false, false) => (Tls::Required(parameters()?), 587),
        };
        let from: Mailbox = settings.from.parse().map_err(|_| "GATEHOUSE_SMTP_FROM must be an address")?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(name)
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(PATIENCE))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if !url.username().is_empty() {
            builder = builder.credentials(Credentials::new(
                decoded(url.username()),
                decoded(url.password().unwrap_or_default()),
            ));
        }
        Ok(Self { transport: builder.build(), from })
    }

    fn message(&self, letter: &Letter, id: &str, at: i64) -> Result<Message, SendError> {
        let never = |what: &str| SendError::Never(format!("the mail has {what} that cannot be written"));
        let to: Address = letter.to.parse().map_err(|_| never("an address"))?;
        let at = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&letter.subject)
            .date(at)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone()))
            .map_err(|_| never("something"))
    }
}

/// `Auto-Submitted: auto-generated` (RFC 3834 §5): nobody's holiday reply shall come back.
#[derive(Clone, Copy)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// What a failure is, without what the server said: that may quote the address.
fn classified(error: &lettre::transport::smtp::Error) -> SendError {
    let code = error.status().map(|code| code.to_string());
    if error.is_permanent() {
        return SendError::Never(format!("the mail server refused it: {}", code.unwrap_or_default()));
    }
    let why = if error.is_transient() {
        format!("the mail server asks to wait: {}", code.unwrap_or_default())
    } else if error.is_tls() {
        "no trustworthy TLS connection to the mail server could be made".to_owned()
    } else if error.is_timeout() {
        "the mail server took too long".to_owned()
    } else if error.is_response() {
        "the mail server answered in a way that is not SMTP".to_owned()
    } else {
        "the mail server could not be reached".to_owned()
    };
    SendError::Later(why)
}

impl Mailer for Smtp {
    fn send<'a>(&'a self, letter: &'a Letter, id: &'a str, at: i64) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let message = self.message(letter, id, at)?;
            self.transport.send(message).await.map(drop).map_err(|error| classified(&error))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(url: &str) -> Result<Smtp, String> {
        Smtp::new(&SmtpSettings {
            url: SecretString::from(url.to_owned()),
            from: "Gatehouse <gatehouse@example.com>".into(),
            extra_ca_pem: None,
        })
    }

    #[tokio::test]
    async fn a_wrong_setting_is_named_without_its_value() {
        for url in [
            "smtp://u:p%40ss@mail.example.com",
            "smtps://mail.example.com",
            "smtp://127.0.0.1:2525",
            "smtp://mail.example.com:25?tls=none",
        ] {
            assert!(made(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "mail.example.com",
            "http://u:secretword@mail.example.com",
            "smtp://u:secretword@h?tls=maybe",
        ] {
            let why = made(url).unwrap_err();
            assert!(why.contains("GATEHOUSE_SMTP_URL") && !why.contains("secretword"), "{why}");
        }
        assert_eq!(decoded("p%40s%2Fs"), "p@s/s");
    }

    #[tokio::test]
    async fn a_mail_has_both_forms_and_says_that_nobody_typed_it() {
        let letter = Letter {
            to: "ada@example.com".into(),
            subject: "Grüße\r\nBcc: eve@example.com".into(),
            text: "Hello".into(),
            html: "<p>Hello</p>".into(),
            link: None,
        };
        let raw = made("smtp://127.0.0.1").unwrap().message(&letter, "mail_1", 1_790_000_000_000).unwrap();
        let raw = String::from_utf8(raw.formatted()).unwrap();
        assert!(
            raw.contains("Auto-Submitted: auto-generated")
                && raw.contains("Message-ID: <mail_1@example.com>")
        );
        assert!(raw.contains("text/plain") && raw.contains("text/html"));
        assert!(!raw.contains("\r\nBcc:"), "{raw}");
    }
}
