use super::super::testing::{Directory, question};
use super::*;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::json;

/// The claims of RFC 7515, appendix A: `{"iss":"joe", "exp":1300819380, "http://example.com/is_root":true}`.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EXPIRY_MS: u64 = 1_300_819_380_000;

/// The keys of appendices A.1 (HMAC), A.2 (RSA) and A.3 (P-256).
const HMAC: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const POINT: (&str, &str) =
    ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");

/// Header and signature of the tokens of appendices A.1 to A.3.
const SIGNED: [(&str, &str); 3] = [
    ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    (
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ),
    ("eyJhbGciOiJFUzI1NiJ9", "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
];

fn provider(config: JwtConfig) -> Tokens {
    Tokens::load(&config).unwrap().unwrap()
}

/// A provider with the three keys of the RFC.
fn of_the_rfc(directory: &Directory) -> Tokens {
    let keys = json!({ "keys": [
        { "kty": "oct", "kid": "h", "k": HMAC },
        { "kty": "RSA", "kid": "r", "n": MODULUS, "e": "AQAB" },
        { "kty": "EC", "kid": "e", "crv": "P-256", "x": POINT.0, "y": POINT.1 },
        { "kty": "EC", "crv": "P-521", "x": "AQ", "y": "AQ" },
        { "kty": "new", "q": 1 },
    ]});
    let jwks_file = Some(directory.file("keys.json", &keys.to_string()));
    provider(JwtConfig { jwks_file, username_claim: "iss".into(), ..JwtConfig::default() })
}

const SECRET: &str = "a secret that is long enough for it";

fn of_a_secret(directory: &Directory, config: JwtConfig) -> Tokens {
    let secret_file = Some(directory.file("secret", &format!("{SECRET}\n")));
    provider(JwtConfig { secret_file, ..config })
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn by_secret(claims: &Value) -> String {
    signed(&json!({ "alg": "HS256" }), claims, &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256)
}

fn check(tokens: &Tokens, username: Option<&str>, token: &str, wall_ms: u64) -> Outcome {
    let verify = question(username, Some(token));
    tokens.check_at(&Credentials::of(&verify).unwrap(), wall_ms)
}

fn refusal(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refuse(why) => why,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn the_examples_of_the_specification_are_accepted_until_they_expire() {
    let directory = Directory::new();
    let tokens = of_the_rfc(&directory);
    for (header, signature) in SIGNED {
        let token = format!("{header}.{CLAIMS}.{signature}");
        let Outcome::Accept(identity) = check(&tokens, None, &token, EXPIRY_MS - 1) else { panic!("{token}") };
        assert_eq!(identity.name.as_deref(), Some("joe"));
        assert_eq!(identity.expires_wall_ms, Some(EXPIRY_MS + 10_000));
        assert!(refusal(check(&tokens, None, &token, EXPIRY_MS + 10_000)).contains("expired"));
        let broken = format!("{header}.{CLAIMS}.{}", signature.replacen(|it: char| it.is_ascii_lowercase(), "A", 1));
        assert!(refusal(check(&tokens, None, &broken, 0)).contains("its signature is wrong"));
    }
}

#[test]
fn keys_in_pem_are_good_for_their_own_algorithms() {
    let directory = Directory::new();
    for (kind, algorithm) in
        [(&rcgen::PKCS_ED25519, Algorithm::EdDSA), (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256)]
    {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let public_key_files = vec![directory.file("public.pem", &pair.public_key_pem())];
        let tokens = provider(JwtConfig { public_key_files, ..JwtConfig::default() });
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(&pair.serialize_der()),
            _ => EncodingKey::from_ec_der(&pair.serialize_der()),
        };
        let claims = json!({ "sub": "joe", "exp": 2 });
        let good = signed(&json!({ "alg": format!("{algorithm:?}"), "kid": "any" }), &claims, &key, algorithm);
        assert!(matches!(check(&tokens, None, &good, 0), Outcome::Accept(_)), "{algorithm:?}");
        // The classic: the public key, which everyone has, as the secret of an HMAC.
        let secret = EncodingKey::from_secret(pair.public_key_pem().as_bytes());
        let confused = signed(&json!({ "alg": "HS256" }), &claims, &secret, Algorithm::HS256);
        assert!(refusal(check(&tokens, None, &confused, 0)).contains("no key here is good for HS256"));
    }
}

#[test]
fn hostile_tokens_are_refused() {
    let directory = Directory::new();
    let config = JwtConfig { issuer: Some("us".into()), audience: Some("althing".into()), ..JwtConfig::default() };
    let tokens = of_a_secret(&directory, config);
    let good = json!({ "sub": "joe", "exp": 100, "iss": "us", "aud": ["other", "althing"] });
    assert!(matches!(check(&tokens, Some("x"), &by_secret(&good), 0), Outcome::Accept(_)));
    let with = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        by_secret(&claims)
    };
    let header = |header: Value| signed(&header, &good, &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256);
    let unsigned = by_secret(&good).rsplit_once('.').unwrap().0.to_owned();
    let none =
        by_secret(&good).replacen(unsigned.split('.').next().unwrap(), &URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), 1);
    let rule = json!([{ "allow": true, "topic": "a/#/b" }]);
    for (token, expected) in [
        (none, "the algorithm \"none\" is not accepted"),
        (header(json!({ "alg": "nOnE" })), "the algorithm \"nOnE\""),
        (header(json!({ "alg": "x".repeat(1_000) })), "is not accepted here"),
        (header(json!({ "alg": "RS256" })), "no key here is good for RS256"),
        (header(json!({ "alg": "HS512" })), "its signature is wrong"),
        (header(json!({ "alg": "HS256", "crit": ["b64"], "b64": false })), "critical"),
        (header(json!({ "kid": "1" })), "its header is none"),
        (format!("{unsigned}."), "its signature is wrong"),
        (format!("{unsigned}.{}", "A".repeat(43)), "its signature is wrong"),
        (format!("{unsigned}.***"), "its signature is wrong"),
        ("ey.ey.ey".into(), "its header is none"),
        (format!("ey{}..", "A".repeat(TOKEN_BYTES_MAX)), "longer than 16384 bytes"),
        (with("exp", json!(null)), "`exp` is no moment"),
        (with("exp", json!("9999999999")), "`exp` is no moment"),
        (with("exp", json!(-1)), "`exp` is no moment"),
        (with("exp", json!(1)), "expired"),
        (with("nbf", json!(1_000)), "does not hold yet"),
        (with("aud", json!("else")), "not meant for \"althing\""),
        (with("aud", json!(7)), "`aud` is neither"),
        (with("iss", json!("them")), "its issuer is not \"us\""),
        (with("sub", json!("")), "does not say by `sub`"),
        (with("sub", json!(7)), "does not say by `sub`"),
        (with("sub", json!("x".repeat(257))), "does not say by `sub`"),
        (with("groups", json!([1])), "`groups` is neither"),
        (with("groups", json!(vec!["g"; 101])), "more than 100 groups"),
        (with("rules", json!({})), "no list of at most 100 rules"),
        (with("rules", rule), "rule 1 of its `rules`"),
    ] {
        // 15 seconds after the epoch: the leeway is 10.
        let why = refusal(check(&tokens, Some("x"), &token, 15_000));
        assert!(why.contains(expected), "{why}");
    }
    let claims = json!({ "sub": "joe", "iss": "us", "aud": "althing" });
    assert!(refusal(check(&tokens, None, &by_secret(&claims), 0)).contains("no `exp`"));
    for password in ["secret", "a.b.c", "", "eyJhbGciOiJIUzI1NiJ9"] {
        assert!(matches!(check(&tokens, None, password, 0), Outcome::NotMine), "{password}");
    }
}

#[test]
fn a_token_brings_groups_and_rules() {
    let directory = Directory::new();
    let tokens = of_a_secret(&directory, JwtConfig { username_must_match: true, ..JwtConfig::default() });
    let rules = json!([{ "allow": true, "actions": ["publish"], "topic": "plant/%c/#", "qos_max": 1 }]);
    let token = by_secret(&json!({ "sub": "joe", "exp": 1e9, "groups": ["floor"], "rules": rules }));
    let Outcome::Accept(identity) = check(&tokens, Some("joe"), &token, 0) else { panic!("all of it is right") };
    assert_eq!(identity.groups, ["floor"]);
    assert_eq!((identity.rules.len(), identity.rules[0].pattern.text()), (1, "plant/%c/#"));
    assert!(identity.rules[0].allow && identity.rules[0].source.starts_with("the token"));
    assert!(refusal(check(&tokens, Some("jim"), &token, 0)).contains("the token of \"joe\""));
    assert!(refusal(check(&tokens, None, &token, 0)).contains("the token of \"joe\""));
}

#[test]
fn a_key_id_chooses_and_keys_are_few() {
    let directory = Directory::new();
    let key = |id: usize| json!({ "kty": "oct", "kid": id.to_string(), "k": HMAC, "alg": "HS256" });
    let set = |keys: Vec<Value>| Some(directory.file("keys.json", &json!({ "keys": keys }).to_string()));
    let tokens = provider(JwtConfig { jwks_file: set((0..100).map(key).collect()), ..JwtConfig::default() });
    let sign = |header: Value| {
        let secret = URL_SAFE_NO_PAD.decode(HMAC).unwrap();
        let algorithm = if header["alg"] == "HS512" { Algorithm::HS512 } else { Algorithm::HS256 };
        signed(&header, &json!({ "sub": "joe", "exp": 9 }), &EncodingKey::from_secret(&secret), algorithm)
    };
    assert!(matches!(check(&tokens, None, &sign(json!({ "alg": "HS256", "kid": "99" })), 0), Outcome::Accept(_)));
    assert!(matches!(check(&tokens, None, &sign(json!({ "alg": "HS256" })), 0), Outcome::Accept(_)));
    for header in [json!({ "alg": "HS256", "kid": "100" }), json!({ "alg": "HS512", "kid": "1" })] {
        assert!(refusal(check(&tokens, None, &sign(header), 0)).contains("no key here"));
    }
    let many = JwtConfig { jwks_file: set((0..101).map(key).collect()), ..JwtConfig::default() };
    assert!(Tokens::load(&many).unwrap_err().contains("101 keys"));
    let unknown = JwtConfig { jwks_file: set(vec![json!({ "kty": "new" })]), ..JwtConfig::default() };
    assert!(Tokens::load(&unknown).unwrap_err().contains("no key for signatures"));
}

#[test]
fn keys_that_are_not_safe_are_refused() {
    let directory = Directory::new();
    let load = |config: JwtConfig| Tokens::load(&config).unwrap_err();
    let secret_file = Some(directory.file("short", "short\n"));
    assert!(load(JwtConfig { secret_file, ..JwtConfig::default() }).contains("has 5 bytes"));
    let public_key_files = vec![directory.file("no.pem", "no")];
    assert!(load(JwtConfig { public_key_files, ..JwtConfig::default() }).contains("expected a public key in PEM"));
    let secret_file = Some(directory.file("secret", SECRET));
    let algorithms = vec!["HS257".into()];
    assert!(load(JwtConfig { secret_file, algorithms, ..JwtConfig::default() }).contains("there is no \"HS257\""));
}
