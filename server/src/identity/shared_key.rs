//! Who somebody is by a secret that it shares with us: it has proven that it holds the key, by DTLS once or by OSCORE with every
//! message.

use super::config::SharedKeyConfig;
use althing_core::{Identity, Link};

/// Whom the key stands for: the name of the key. `None` when there is none, or keys name nobody.
pub fn identity(config: &SharedKeyConfig, link: &Link) -> Option<Identity> {
    let key = link.shared_key.as_ref()?;
    config.enabled.then(|| Identity::named(key.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::link::{SharedKey, SharedKeyKind};
    use std::sync::Arc;

    #[test]
    fn the_name_of_the_key_is_the_name() {
        for kind in [SharedKeyKind::PreSharedKey, SharedKeyKind::Oscore] {
            let key = SharedKey { kind, name: "sensor-1".into() };
            let link = Link { shared_key: Some(Arc::new(key)), ..Link::default() };
            let name = |enabled| identity(&SharedKeyConfig { enabled }, &link).map(|it| it.name);
            assert_eq!(name(true), Some(Some("sensor-1".into())));
            assert_eq!(name(false), None);
        }
        assert!(identity(&SharedKeyConfig::default(), &Link::default()).is_none());
    }
}
