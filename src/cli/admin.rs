//! The flags of the admin listener.

use super::flags::Flags;
use super::over::Environment;
use super::value;
use crate::config::{self, Admin};

pub(super) const TOKEN_VARIABLE: &str = "EVENKEEL_ADMIN_TOKEN";

/// What the flags say over what the file said; the environment's token is for a listener that has none.
pub(super) fn admin(
    flags: &Flags,
    base: Option<Admin>,
    environment: &Environment,
) -> Result<Option<Admin>, String> {
    let address = value("--admin", &flags.admin, config::parse_listen)?;
    let (base_address, base_token) = base.map_or((None, None), |base| (Some(base.address), base.token));
    let Some(address) = address.or(base_address) else {
        return match flags.admin_token {
            Some(_) => Err("--admin-token without --admin: there is no listener to ask for it".to_owned()),
            None => Ok(None),
        };
    };
    let set = environment.admin_token.as_ref().map(|text| text.to_string_lossy().into_owned());
    let from = if flags.admin_token.is_some() { "--admin-token" } else { TOKEN_VARIABLE };
    let token = flags.admin_token.clone().or(base_token).or(set);
    match &token {
        // A message that repeated it would show it to whoever reads the log.
        Some(text) if text.is_empty() || text.contains(|c: char| !c.is_ascii_graphic()) => {
            Err(format!("{from}: a token is visible ASCII without spaces (RFC 6750)"))
        }
        _ => Ok(Some(Admin { address, token })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, parse};

    fn admin(line: &str, token: Option<&str>) -> Result<Option<(String, Option<String>)>, String> {
        let environment = |name: &str| token.filter(|_| name == super::TOKEN_VARIABLE).map(Into::into);
        match parse(&line.split(' ').collect::<Vec<_>>(), &environment) {
            Outcome::Run { setup, .. } => {
                Ok(setup.config.admin.map(|admin| (admin.address.to_string(), admin.token)))
            }
            Outcome::Refuse(line) => Err(line),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_token_comes_from_the_flag_or_the_environment() {
        let on = |token: Option<&str>| Ok(Some(("127.0.0.1:9900".to_owned(), token.map(str::to_owned))));
        assert_eq!(admin("--workers 1", Some("unused")), Ok(None));
        assert_eq!(admin("--admin 127.0.0.1:9900", None), on(None));
        assert_eq!(admin("--admin 127.0.0.1:9900", Some("set")), on(Some("set")));
        assert_eq!(admin("--admin 127.0.0.1:9900 --admin-token given", Some("set")), on(Some("given")));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(admin("--admin 9900", None).unwrap_err().starts_with("--admin \"9900\": "));
        assert!(admin("--admin-token x", None).unwrap_err().contains("without --admin"));
        let line = admin("--admin 127.0.0.1:1", Some("with space")).unwrap_err();
        assert!(line.starts_with("EVENKEEL_ADMIN_TOKEN: ") && !line.contains("with space"), "{line}");
    }
}
