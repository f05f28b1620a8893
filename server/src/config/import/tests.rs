use super::*;
use crate::config::keys;
use std::path::PathBuf;

fn imported(text: &str) -> Imported {
    import(&lines::parse(Path::new("m.conf"), text))
}

/// What is set, without places and without what is always there.
fn shown(imported: &Imported) -> Vec<String> {
    const ALWAYS: [&str; 4] = ["mqtt.tls_bind", "stomp.enabled", "coap.enabled", "coap-tcp.enabled"];
    let said = imported.settings.iter().filter(|setting| !ALWAYS.contains(&setting.key.as_str()));
    said.map(|setting| format!("{} = {}", setting.key, setting.value)).collect()
}

#[test]
fn a_file_without_listeners_is_for_this_machine() {
    let imported = imported("# nothing\n\n");
    assert_eq!(
        shown(&imported),
        [
            "identity.anonymous = \"loopback\"",
            "authorisation.otherwise = \"allow\"",
            "mqtt.bind = [\"127.0.0.1:1883\"]"
        ]
    );
    assert!(imported.left_out.is_empty());
}

#[test]
fn passwords_and_rules_are_carried_over() {
    let imported = imported(
        "listener 1883\nallow_anonymous false\npassword_file /etc/m/passwd\nacl_file /etc/m/acl\npersistence true\n\
         max_keepalive 120\nmax_queued_messages 0\nlog_type error\nlog_type notice\nlog_dest file /var/log/a b.log\n",
    );
    assert_eq!(
        shown(&imported),
        [
            "store.durability = \"sync\"",
            "limits.keep_alive_s_max = 120",
            "limits.queue_messages_max = 9223372036854775807",
            "log.level = \"info\"",
            "log.file = \"/var/log/a b.log\"",
            "identity.anonymous = \"nowhere\"",
            "identity.mosquitto_password_file = \"/etc/m/passwd\"",
            "authorisation.mosquitto_acl_file = \"/etc/m/acl\"",
            "mqtt.bind = [\"[::]:1883\"]",
        ]
    );
    assert_eq!(imported.left_out, Vec::<String>::new());
}

#[test]
fn listeners_with_options_have_names() {
    let imported = imported(
        "per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\nlistener 8883\ncafile ca.pem\n\
         certfile a.pem\nkeyfile a.key\nrequire_certificate true\nuse_identity_as_username true\nmount_point x/\n\
         max_connections 5\nlistener 0 /run/m.sock\nlistener 1884\nprotocol mqtt\nsocket_domain ipv4\n",
    );
    assert_eq!(
        shown(&imported),
        [
            "identity.anonymous = \"nowhere\"",
            "authorisation.otherwise = \"allow\"",
            "listeners.mqtt-1883.protocol = \"mqtt\"",
            "listeners.mqtt-1883.bind = [\"127.0.0.1:1883\"]",
            "listeners.mqtt-1883.anonymous = true",
            "listeners.mqtt-8883.protocol = \"mqtt\"",
            "listeners.mqtt-8883.bind = [\"[::]:8883\"]",
            "listeners.mqtt-8883.client_ca = \"ca.pem\"",
            "listeners.mqtt-8883.tls = true",
            "listeners.mqtt-8883.certificate = \"a.pem\"",
            "listeners.mqtt-8883.key = \"a.key\"",
            "listeners.mqtt-8883.client_certificate = \"required\"",
            "identity.certificate.name = \"common_name\"",
            "listeners.mqtt-8883.mount_point = \"x/\"",
            "listeners.mqtt-8883.connections_max = 5",
            "mqtt.bind = [\"unix:/run/m.sock\", \"0.0.0.0:1884\"]",
        ]
    );
    assert_eq!(imported.left_out, Vec::<String>::new());
}

#[test]
fn keys_of_devices_are_kept_for_coap() {
    let listener = |port: u16, file: &str| format!("listener {port}\npsk_hint x\npsk_file {file}\n");
    let text = format!("allow_anonymous true\n{}{}{}", listener(1, "/a"), listener(2, "/a"), listener(3, "/b"));
    let imported = imported(&text);
    assert!(shown(&imported).contains(&"coap.psk_file = \"/a\"".to_owned()));
    assert_eq!(imported.left_out.len(), 4);
    assert!(
        imported.left_out[3].starts_with("m.conf:10: psk_file: one file holds the keys"),
        "{:?}",
        imported.left_out
    );
}

#[test]
fn what_is_left_out_is_named_with_its_place_and_why() {
    for (text, expected) in [
        ("listener 1\npsk_hint x\nallow_anonymous true", "m.conf:2: psk_hint: shared keys are for CoAP over DTLS"),
        ("listener 1\nprotocol websockets\nallow_anonymous true", "m.conf:2: protocol: websockets is not spoken yet"),
        ("connection c\naddress h\ntopic # both", "m.conf:1: connection: a bridge to another broker"),
        ("plugin /x.so\nplugin_opt_a b", "m.conf:1: plugin: mosquitto's plugins cannot be loaded"),
        ("user mosquitto", "m.conf:1: user: this is the service manager's business"),
        ("persistence_location /var/lib/m", "m.conf:1: persistence_location: what mosquitto has stored stays there"),
        ("max_keepalive soon", "m.conf:1: max_keepalive: it takes a whole number"),
        ("no_such_option 1", "m.conf:1: no_such_option: there is nothing like it here"),
        (
            "listener 1 example.org\nallow_anonymous true",
            "m.conf:1: listener: write the address that `example.org` stands for",
        ),
        ("listener 99999\nallow_anonymous true", "m.conf:1: listener: `99999` is no port"),
        ("listener 1\nmount_point x\nallow_anonymous true", "m.conf:2: mount_point: a mount point ends in / here"),
        ("listener 1", "nobody could log in: there is neither allow_anonymous true nor a password_file"),
        (
            "per_listener_settings true\nlistener 1\npassword_file a\nlistener 2\npassword_file b",
            "m.conf:3: password_file: all listeners share one file of a kind here",
        ),
    ] {
        let left_out = imported(text).left_out;
        assert!(left_out.len() == 1 && left_out[0].starts_with(expected), "{text:?}: {left_out:?}");
    }
}

#[test]
fn everything_that_is_carried_over_is_a_setting_of_ours() {
    let text = "listener 1883\nallow_anonymous true\nmax_packet_size 5\nmessage_size_limit 9\nqueue_qos0_messages true\n\
        sys_interval 0\npersistent_client_expiration 2d\nmax_inflight_messages 0\ntls_version tlsv1.3\nmax_topic_alias 7\n\
        accept_protocol_versions 4,5\nuse_username_as_clientid true\npersistence false\nenable_proxy_protocol 1\n";
    let imported = imported(text);
    assert_eq!(imported.left_out, Vec::<String>::new());
    let config = imported.config().unwrap();
    assert_eq!((config.limits.session_expiry_s_max, config.limits.inflight_max), (172_800, 65_535));
    let again = crate::config::sources::from_toml(&PathBuf::from("a.toml"), &imported.text()).unwrap();
    let mut loaded = Config::new(0);
    again.iter().try_for_each(|setting| loaded.apply(setting)).unwrap();
    assert_eq!(crate::config::changes(&config, &loaded), []);
    loaded.check().unwrap();
    assert!(imported.settings.iter().all(|setting| keys::explained(&setting.key).is_some()));
}

#[test]
fn any_bytes_are_settings_or_left_out() {
    let text = "listener 1883 ::1\ncertfile a\nmount_point /\nconnection x\naddress y\nport 5\nmax_connections -1\nlog_dest file\n";
    let mut bytes = text.as_bytes().to_vec();
    for index in 0..bytes.len() {
        for byte in [0, b' ', b'\n', b'#', b'9', b'"', b'\\', b'\r'] {
            let before = std::mem::replace(&mut bytes[index], byte);
            let imported = imported(std::str::from_utf8(&bytes).unwrap());
            assert!(
                imported.config().is_ok()
                    && crate::config::sources::from_toml(Path::new("a"), &imported.text()).is_ok()
            );
            bytes[index] = before;
        }
    }
}
