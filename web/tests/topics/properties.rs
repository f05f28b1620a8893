//! What a message says, from HTTP to MQTT and back.

use crate::world::{Things, world};
use althing_core::topic::TopicLimits;
use althing_core::{Guarantee, Properties, Topic};
use althing_mqtt::packet::Publish;

fn pairs(user: &[(&str, &str)]) -> Vec<(bytestring::ByteString, bytestring::ByteString)> {
    user.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

#[test]
fn what_http_says_mqtt_hears() {
    world(async |world| {
        let mut things = world.mqtt(&["a"]).await;
        let headers = [
            ("content-type", "application/cbor"),
            ("content-encoding", "gzip"),
            ("althing-qos", "2"),
            ("althing-expiry", "60"),
            ("althing-user-property", "b=1"),
            ("althing-user-property", "a=%C3%BC"),
            ("althing-user-property", "b=2"),
            ("althing-response-topic", "r/%C3%BC"),
            ("althing-correlation-data", "AP8="),
            ("althing-payload-format", "binary"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("user-agent", "test"),
        ];
        world.http().await.ask("POST /topics/a", &headers, &b"\0\xff"[..]).await;
        let Publish { qos, payload, message_expiry_s, properties, .. } = things.message().await;
        assert_eq!((qos, &payload[..], message_expiry_s), (Guarantee::ExactlyOnce, &b"\0\xff"[..], Some(60)));
        let properties = properties.unwrap();
        assert_eq!(properties.content_type.as_deref(), Some("application/cbor"));
        assert_eq!(properties.response_topic.as_ref().unwrap().as_str(), "r/ü");
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"\0\xff"[..]));
        let mut user = properties.user.clone();
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut expected = pairs(&[
            ("content-encoding", "gzip"),
            ("b", "1"),
            ("a", "ü"),
            ("b", "2"),
            ("traceparent", trace),
            ("specversion", "1.0"),
            ("id", "7"),
        ]);
        // Lines of one name keep their order; names have none among each other in HTTP.
        let own = |user: &[(bytestring::ByteString, bytestring::ByteString)]| {
            user.iter().filter(|(name, _)| matches!(&**name, "a" | "b")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(own(&user), own(&expected));
        user.sort();
        expected.sort();
        assert_eq!(user, expected);
    });
}

#[test]
fn what_mqtt_says_http_hears() {
    world(async |world| {
        let mut things: Things = world.mqtt(&[]).await;
        let topic = |name: &str| Topic::new(name.into(), &TopicLimits::default()).unwrap();
        let mut publish = things.answer(topic("a"), "21.5");
        publish.retain = true;
        publish.message_expiry_s = Some(60);
        publish.properties = Some(
            Properties {
                content_type: Some("text/plain".into()),
                payload_is_utf8: Some(true),
                response_topic: Some(topic("r/ü")),
                correlation_data: Some((&b"\0\xff"[..]).into()),
                user: pairs(&[("b", "1"), ("a\n", "ü"), ("b", "2"), ("traceparent", "00-1-2-01")]),
                ..Properties::default()
            }
            .into(),
        );
        things.publish(publish).await;
        let heard = world.http().await.get("/topics/a").await;
        for (name, value) in [
            ("content-type", "text/plain"),
            ("althing-payload-format", "utf-8"),
            ("althing-response-topic", "r/%C3%BC"),
            ("althing-correlation-data", "AP8="),
            ("althing-expiry", "60"),
            ("althing-qos", "1"),
            ("traceparent", "00-1-2-01"),
        ] {
            assert_eq!(heard.header(name), value, "{name}");
        }
        let user: Vec<&str> =
            heard.headers.get_all("althing-user-property").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(user, ["b=1", "a%0A=%C3%BC", "b=2"]);
        assert_eq!(heard.text(), "21.5");
    });
}
