//! Codes by time (RFC 6238): six digits, thirty seconds, SHA-1, because that is what every app knows (MFA-01).

use model::factors::Enrolment;
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

use crate::{Env, Error, Result, env::Rng};

/// Bytes of a secret: 160 bits.
const SECRET: usize = 20;
/// Seconds of a step.
const STEP: u64 = 30;

/// A secret that an app shares with us.
pub(crate) struct Secret(Zeroizing<[u8; SECRET]>);

impl Secret {
    pub(crate) fn generate(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; SECRET]);
        rng.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Seals it for a person; it opens for nobody else.
    pub(crate) fn seal(&self, env: &Env, user: model::UserId) -> Vec<u8> {
        env.sealer.seal_instance(&place(user), self.0.as_slice(), env.rng.as_ref())
    }

    pub(crate) fn open(env: &Env, user: model::UserId, sealed: &[u8]) -> Result<Self> {
        let unreadable = || Error::Internal(format!("the second factor of {user} does not open"));
        let bytes = env.sealer.open_instance(&place(user), sealed).map_err(|_| unreadable())?;
        let mut secret = Zeroizing::new([0; SECRET]);
        if bytes.len() != SECRET {
            return Err(unreadable());
        }
        secret.copy_from_slice(&bytes);
        Ok(Self(secret))
    }

    /// Reads the text that apps are told.
    #[cfg(feature = "testing")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::BASE32_NOPAD.decode(text.replace(' ', "").as_bytes()).ok()?;
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    fn totp(&self) -> Totp {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(6)
            .with_skew(1)
            .with_step_duration(STEP)
            .with_secret(*self.0)
            .build()
            .expect("these are the values of RFC 6238")
    }

    /// The step whose code this is, if it is that of now or of one beside it (MFA-02).
    pub(crate) fn step_of(&self, code: &str, now_ms: i64) -> Option<i64> {
        let seconds = u64::try_from(now_ms / 1000).ok()?;
        self.totp().check(code, seconds).and_then(|step| i64::try_from(step).ok())
    }

    /// The code at a time.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn code_at(&self, now_ms: i64) -> String {
        self.totp().generate(u64::try_from(now_ms / 1000).unwrap_or_default()).to_string()
    }

    /// What an app has to be told.
    pub(crate) fn enrolment(&self, account: &str) -> Result<Enrolment> {
        const ISSUER: &str = "Gatehouse";
        let text = data_encoding::BASE32_NOPAD.encode(self.0.as_slice());
        let account = model::paths::encode_segment(account);
        let uri = format!(
            "otpauth://totp/{ISSUER}:{account}?secret={text}&issuer={ISSUER}&algorithm=SHA1&digits=6&period={STEP}"
        );
        let (qr_size, qr_path) = qr(&uri)?;
        let groups: Vec<&str> =
            text.as_bytes().chunks(4).map(|group| core::str::from_utf8(group).unwrap_or_default()).collect();
        Ok(Enrolment { secret: groups.join(" "), uri, qr_size, qr_path })
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret([REDACTED])")
    }
}

fn place(user: model::UserId) -> String {
    format!("totp of {user}")
}

/// A QR code as the path of an SVG whose unit is a module: one stroke for each run of dark ones.
fn qr(text: &str) -> Result<(u32, String)> {
    use core::fmt::Write as _;
    let code = fast_qr::QRBuilder::new(text)
        .ecl(fast_qr::ECL::M)
        .build()
        .map_err(|_| Error::Internal("the address for the app is too long for a QR code".into()))?;
    let mut path = String::new();
    for row in 0..code.size {
        let mut column = 0;
        while column < code.size {
            let dark = code[row][column..code.size].iter().take_while(|module| module.value()).count();
            if dark > 0 {
                let _ = write!(path, "M{column} {row}h{dark}v1h-{dark}z");
            }
            column += dark.max(1);
        }
    }
    Ok((u32::try_from(code.size).unwrap_or(u32::MAX), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the last six of the eight digits.
    #[test]
    fn mfa_01_codes_are_those_of_the_rfc() {
        let secret = Secret(Zeroizing::new(*b"12345678901234567890"));
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924")] {
            assert_eq!(secret.code_at(seconds * 1000), code);
        }
    }

    #[test]
    fn mfa_02_the_steps_beside_now_count_and_no_other() {
        let secret = Secret(Zeroizing::new(*b"12345678901234567890"));
        let now = 1_790_000_000_000;
        let step = now / 30_000;
        for (offset, found) in
            [(-2, None), (-1, Some(step - 1)), (0, Some(step)), (1, Some(step + 1)), (2, None)]
        {
            let code = secret.code_at(now + offset * 30_000);
            assert_eq!(secret.step_of(&code, now), found, "{offset}");
        }
        for bad in ["", "12345", "1234567", "abcdef", "００００００"] {
            assert_eq!(secret.step_of(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn the_qr_code_is_square_and_has_its_three_eyes() {
        let secret = Secret(Zeroizing::new([7; SECRET]));
        let told = secret.enrolment("ada@example.com").unwrap();
        assert!(told.uri.starts_with("otpauth://totp/Gatehouse:ada%40example.com?secret="), "{}", told.uri);
        assert_eq!(told.secret.len(), 32 + 7);
        assert!(told.qr_size >= 21 && (told.qr_size - 17).is_multiple_of(4));
        let far = told.qr_size - 7;
        for eye in ["M0 0h7v1h-7z".to_owned(), format!("M{far} 0h7v1h-7z"), format!("M0 {far}h7v1h-7z")] {
            assert!(told.qr_path.contains(&eye), "{eye}");
        }
    }
}
