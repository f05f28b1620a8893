//! Who we say we are: from the command line, the URL or the environment, in this order.

use crate::exit::Failure;
use std::env::VarError;
use std::{env, fs};

/// User name and password; each may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: Option<String>,
    pub password: Option<String>,
}

impl Credentials {
    /// These, and from the environment what they leave out.
    pub fn or_environment(self) -> Result<Self, Failure> {
        self.or(variable)
    }

    fn or(self, variable: impl Fn(&str) -> Result<Option<String>, Failure>) -> Result<Self, Failure> {
        let from = |name: &str| secret(name, &variable);
        Ok(Self {
            username: self.username.map_or_else(|| from("ALTHING_USERNAME"), |given| Ok(Some(given)))?,
            password: self.password.map_or_else(|| from("ALTHING_PASSWORD"), |given| Ok(Some(given)))?,
        })
    }
}

/// The secret that the environment holds under this name, or in the file that `NAME_FILE` names.
pub fn from_environment(name: &str) -> Result<Option<String>, Failure> {
    secret(name, variable)
}

fn secret(name: &str, variable: impl Fn(&str) -> Result<Option<String>, Failure>) -> Result<Option<String>, Failure> {
    match variable(name)? {
        Some(value) => Ok(Some(value)),
        None => variable(&format!("{name}_FILE"))?.map(|path| first_line(name, &path)).transpose(),
    }
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        // The value may be a secret: it is not told.
        Err(VarError::NotUnicode(_)) => Err(Failure::usage(format!("{name} is not UTF-8 text"))),
    }
}

/// Secrets are handed over as files that end with a line end, or not.
fn first_line(name: &str, path: &str) -> Result<String, Failure> {
    let text =
        fs::read_to_string(path).map_err(|error| Failure::usage(format!("{name}_FILE names {path}: {error}")))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(given: Credentials, variables: &[(&str, &str)]) -> Result<Credentials, Failure> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        given.or(|name| Ok(value(name)))
    }

    #[test]
    fn the_environment_stands_in_for_what_is_not_given() {
        let variables = [("ALTHING_USERNAME", "ann"), ("ALTHING_PASSWORD", "secret")];
        let all = found(Credentials::default(), &variables).unwrap();
        assert_eq!((all.username.as_deref(), all.password.as_deref()), (Some("ann"), Some("secret")));
        let given = Credentials { username: Some("bob".into()), password: None };
        let mixed = found(given, &variables).unwrap();
        assert_eq!((mixed.username.as_deref(), mixed.password.as_deref()), (Some("bob"), Some("secret")));
        assert_eq!(found(Credentials::default(), &[]).unwrap(), Credentials::default());
    }

    #[test]
    fn a_file_gives_its_first_line_and_a_missing_one_is_said() {
        let path = env::temp_dir().join(format!("althing-secret-{}", std::process::id()));
        fs::write(&path, "from a file\nsecond line\n").unwrap();
        let text = path.to_str().unwrap();
        let read = found(Credentials::default(), &[("ALTHING_PASSWORD_FILE", text)]).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(read.password.as_deref(), Some("from a file"));
        let failure = found(Credentials::default(), &[("ALTHING_PASSWORD_FILE", text)]).unwrap_err();
        assert!(failure.text.contains("ALTHING_PASSWORD_FILE"), "{}", failure.text);
    }
}
