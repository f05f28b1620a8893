//! The whole chain, as a shard sees it.

use super::config::{CertificateConfig, IdentityConfig};
use super::testing::{Directory, question};
use super::*;
use althing_core::link::{Certificate, Entrance, Tls};
use std::sync::mpsc;

fn cheap(password: &str) -> String {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password(password.as_bytes(), &SaltString::encode_b64(b"somesalt").unwrap()).unwrap().to_string()
}

/// alice is in two groups, and bob comes from mosquitto.
fn files() -> (Directory, IdentityConfig) {
    let directory = Directory::new();
    directory.file("users", &format!("alice:{}:admin,floor\n", cheap("secret")));
    let config = IdentityConfig { threads: 1, ..IdentityConfig::default() };
    (directory, config)
}

fn start(directory: &Directory, config: &IdentityConfig) -> Arc<Identities> {
    let prepared = Identities::prepare(config, &directory.path("")).unwrap();
    Identities::start(config, prepared).unwrap()
}

fn anonymous(mut verify: Verify) -> Verify {
    verify.link.entrance = Arc::new(Entrance { anonymous: true, ..Entrance::default() });
    verify
}

/// The verdict, at once or late; and whether it was late.
fn ask(identities: &Arc<Identities>, verify: Verify) -> (Verdict, bool) {
    let (sender, receiver) = mpsc::channel();
    match identities.verify(verify, move |verdict| sender.send(verdict).unwrap()) {
        Some(verdict) => (verdict, false),
        None => (receiver.recv().unwrap(), true),
    }
}

fn name(verdict: &Verdict) -> Result<Option<&str>, Reason> {
    match verdict {
        Verdict::Accept { identity, .. } => Ok(identity.name.as_deref()),
        Verdict::Refuse { refusal, .. } => Err(refusal.reason),
        Verdict::Continue(_) => panic!("nothing goes on here"),
    }
}

#[test]
fn a_password_decides() {
    let (directory, config) = files();
    let identities = start(&directory, &config);
    let (verdict, _) = ask(&identities, question(Some("alice"), Some("secret")));
    let Verdict::Accept { identity, .. } = &verdict else { panic!("it is the right password") };
    assert_eq!(identity.name.as_deref(), Some("alice"));
    assert_eq!(identity.groups, ["admin", "floor"]);
    for (username, password) in [
        (Some("alice"), "wrong"),
        (Some("alice"), ""),
        (Some("mallory"), "secret"),
        (Some(""), "secret"),
        (None, "secret"),
    ] {
        // Also where nobodies are let in: a wrong password is no anonymity.
        let (verdict, _) = ask(&identities, anonymous(question(username, Some(password))));
        assert_eq!(name(&verdict), Err(Reason::BadCredentials), "{username:?} {password}");
    }
}

#[test]
fn a_peer_cannot_tell_a_wrong_name_from_a_wrong_password_but_the_log_can() {
    let (directory, config) = files();
    let identities = start(&directory, &config);
    let refusal = |username| match ask(&identities, question(Some(username), Some("wrong"))).0 {
        Verdict::Refuse { refusal, why } => (refusal, why.unwrap()),
        verdict => panic!("{verdict:?}"),
    };
    let (known, unknown) = (refusal("alice"), refusal("mallory"));
    assert_eq!(known.0, unknown.0);
    assert_eq!(known.1, "the password of \"alice\" is wrong");
    assert_eq!(unknown.1, "no identity provider knows \"mallory\"");
}

#[test]
fn without_users_everyone_is_nobody_where_the_entrance_says_so() {
    let directory = Directory::new();
    let identities = start(&directory, &IdentityConfig::default());
    for (username, password) in [(None, None), (Some("a"), None), (Some("a"), Some("b")), (None, Some("b"))] {
        let (verdict, late) = ask(&identities, anonymous(question(username, password)));
        assert_eq!((name(&verdict), late), (Ok(None), false));
        let (verdict, _) = ask(&identities, question(username, password));
        let expected = if password.is_some() { Reason::BadCredentials } else { Reason::NotAuthorised };
        assert_eq!(name(&verdict), Err(expected));
    }
}

#[test]
fn a_certificate_speaks_for_who_gives_no_password() {
    let (directory, mut config) = files();
    config.certificate = CertificateConfig { enabled: true, ..CertificateConfig::default() };
    let identities = start(&directory, &config);
    let with = |common_name: Option<&str>, password| {
        let certificate =
            Certificate { common_name: common_name.map(str::to_owned), not_after_s: 9, ..Certificate::default() };
        let mut verify = question(Some("alice"), password);
        verify.link.tls = Some(Arc::new(Tls { certificate: Some(certificate), ..Tls::default() }));
        ask(&identities, anonymous(verify)).0
    };
    assert_eq!(name(&with(Some("sensor"), None)), Ok(Some("sensor")));
    assert_eq!(name(&with(Some("sensor"), Some("secret"))), Ok(Some("alice")));
    assert_eq!(name(&with(Some("sensor"), Some("wrong"))), Err(Reason::BadCredentials));
    assert_eq!(name(&with(None, None)), Err(Reason::NotAuthorised), "a certificate without a name is nobody's");
}

#[test]
fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
    let (directory, config) = files();
    let identities = start(&directory, &config);
    let late = |password| ask(&identities, question(Some("alice"), Some(password))).1;
    assert_eq!((late("secret"), late("secret"), late("secret")), (true, false, false));
    assert_eq!((late("wrong"), late("wrong")), (true, true));
    let forgetful = start(&directory, &IdentityConfig { remember_s: 0, ..config });
    let late = |password| ask(&forgetful, question(Some("alice"), Some(password))).1;
    assert_eq!((late("secret"), late("secret")), (true, true));
}

#[test]
fn a_reload_takes_effect_as_a_whole_or_not_at_all() {
    let (directory, config) = files();
    let identities = start(&directory, &config);
    let login = |username| name(&ask(&identities, question(Some(username), Some("secret"))).0).is_ok();
    assert!(login("alice"));
    directory.file("users", "carol:nonsense\n");
    let error = Identities::prepare(&config, &directory.path("")).unwrap_err();
    assert!(error.contains("users:1: ") && error.contains("$argon2id$"), "{error}");
    assert!(login("alice"));
    directory.file("users", &format!("carol:{}\n", cheap("secret")));
    let prepared = Identities::prepare(&config, &directory.path("")).unwrap();
    assert_eq!(prepared.users().unwrap().into_keys().collect::<Vec<_>>(), ["carol"]);
    identities.apply(prepared);
    assert!(login("carol"));
    assert!(!login("alice"), "nobody is remembered who is gone");
}

#[test]
fn a_file_that_is_named_must_be_there_and_names_are_in_one_file() {
    let (directory, config) = files();
    let prepare = |config: &IdentityConfig| Identities::prepare(config, &directory.path("")).map(|_| ()).unwrap_err();
    let missing = directory.path("missing");
    let error = prepare(&IdentityConfig { password_file: Some(missing.clone()), ..config.clone() });
    assert!(error.starts_with(&missing.display().to_string()), "{error}");
    let other = directory.file("other", &format!("alice:{}\n", cheap("secret")));
    let error = prepare(&IdentityConfig { mosquitto_password_file: Some(other), ..config.clone() });
    assert!(error.contains("\"alice\" is in another file, too"), "{error}");
    let prepared = Identities::prepare(&config, &directory.path("")).unwrap();
    assert!(prepared.warnings[0].contains("chmod 600"), "{:?}", prepared.warnings);
}
