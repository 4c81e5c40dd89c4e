//! The cookies that are set in more than one place. Where people come by `https` their names promise that this host alone
//! set them.

fn line(name: &str, value: &str, secure: bool, seconds: u32) -> String {
    let suffix = if secure { "; Secure" } else { "" };
    format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{suffix}", named(name, secure))
}

fn named(name: &str, secure: bool) -> String {
    if secure { format!("__Host-{name}") } else { name.to_owned() }
}

/// The name of the cookie of a log-in that waits for its second step.
pub fn step_name(secure: bool) -> String {
    named("gatehouse-step", secure)
}

/// Notes in a cookie that the second step is waited for; an empty value ends that (MFA-03).
pub fn step(value: &str, secure: bool) -> String {
    line("gatehouse-step", value, secure, if value.is_empty() { 0 } else { 600 })
}

/// The name of the cookie of a browser that has signed in.
pub fn device_name(secure: bool) -> String {
    named("gatehouse-device", secure)
}

/// The cookie of a browser that has signed in, for a year (PWD-06).
pub fn device(value: &str, secure: bool) -> String {
    line("gatehouse-device", value, secure, 365 * 24 * 60 * 60)
}

/// The name of the cookie of a browser that skips the second step.
pub fn trusted_name(secure: bool) -> String {
    named("gatehouse-trusted", secure)
}

/// Lets a browser skip the second step for so many seconds.
pub fn trusted(value: &str, secure: bool, seconds: u32) -> String {
    line("gatehouse-trusted", value, secure, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pwd_06_the_device_cookie_is_bound_to_the_host_where_it_can_be() {
        assert_eq!(
            device("a.b", true),
            "__Host-gatehouse-device=a.b; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            device("a.b", false),
            "gatehouse-device=a.b; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
        );
        assert_eq!(step("", false), "gatehouse-step=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}
