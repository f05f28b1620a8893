//! `althing.json`, as much of it as a device needs: objects over WebSocket, each answered before the next.

use crate::connection::Plan;
use crate::exit::{ExitCode, Failure};
use crate::socket::Socket;
use crate::websocket::{self, Upgrade};
use althing_core::Topic;
use althing_core::adaptor::OutBuffer;
use bytes::{Buf, BytesMut};
use serde_json::{Value, json};
use tokio::time::timeout;

/// The sub-protocol.
pub const SUBPROTOCOL: &str = "althing.json";

/// One connection.
pub struct Link {
    socket: Socket,
    output: OutBuffer,
    input: BytesMut,
}

impl Link {
    /// Opens it and says who we are. `plan` is that of an MQTT client at the same URL.
    pub async fn connect(plan: &Plan) -> Result<Self, Failure> {
        let path = plan.upgrade.as_ref().map_or_else(|| "/json".to_owned(), |upgrade| upgrade.path.clone());
        let socket = Socket::connect(&plan.endpoint, plan.tls.as_ref()).await?;
        let upgrade = Upgrade { path, subprotocol: SUBPROTOCOL };
        let socket = websocket::upgrade(socket, &plan.endpoint, &upgrade, plan.tls.as_ref()).await?;
        let mut link = Self { socket, output: OutBuffer::default(), input: BytesMut::new() };
        let mut hello = json!({"type": "connect", "client": plan.connect.client_id.to_string()});
        if let Some(username) = &plan.connect.username {
            let password = plan.connect.password.as_deref().unwrap_or_default();
            hello["username"] = username.to_string().into();
            hello["password"] = String::from_utf8_lossy(password).into();
        }
        timeout(plan.connect_timeout, link.ask(&hello, "connected")).await.map_err(|_| {
            let text = format!("{} did not answer within {:?}", plan.endpoint, plan.connect_timeout);
            Failure::new(ExitCode::CannotConnect, text)
        })??;
        Ok(link)
    }

    /// Publishes a last value, and waits until the broker has it.
    pub async fn say(&mut self, topic: &Topic, payload: &[u8]) -> Result<(), Failure> {
        let payload = String::from_utf8_lossy(payload);
        let publish =
            json!({"type": "publish", "id": 1, "topic": topic.as_str(), "payload": payload, "qos": 1, "retain": true});
        self.ask(&publish, "published").await
    }

    /// The next object has to be of this type.
    async fn ask(&mut self, object: &Value, answer: &str) -> Result<(), Failure> {
        let text = object.to_string();
        // A binary message: how long the object is, then the object.
        self.output.tail().extend_from_slice(&(text.len() as u32).to_be_bytes());
        self.output.tail().extend_from_slice(text.as_bytes());
        loop {
            let moved = self.socket.exchange(&mut self.output, &mut self.input).await;
            let mut objects = serde_json::Deserializer::from_slice(&self.input).into_iter::<Value>();
            if let Some(Ok(said)) = objects.next() {
                let length = objects.byte_offset();
                self.input.advance(length);
                return match said["type"].as_str() {
                    Some(kind) if kind == answer => Ok(()),
                    _ => Err(Failure::new(ExitCode::Refused, format!("the broker refused: {}", said["text"]))),
                };
            }
            moved.map_err(|error| Failure::new(ExitCode::Runtime, format!("the connection is lost: {error}")))?;
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        // Who does not hear it notices the end of the connection.
        let _ = self.socket.finish(&[]).await;
    }
}
