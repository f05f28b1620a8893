//! The textbook's example: each message is answered with itself and ` OK`.

use althing_core::{Answer, Close, Deadline, Delivery, MessageAdaptor, MessageOut, Now, Receive, WholeMessage};

/// Answers each message with itself and ` OK`, without asking the broker for anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct EchoAdaptor;

impl MessageAdaptor for EchoAdaptor {
    fn receive(&mut self, _now: Now, message: WholeMessage, out: &mut MessageOut<'_>) -> Result<Receive, Close> {
        let bytes = [&message.bytes[..], b" OK"].concat().into();
        out.messages.push_back(WholeMessage { is_text: message.is_text, bytes });
        Ok(Receive::Again)
    }

    fn answer(&mut self, _now: Now, _answer: Answer, _out: &mut MessageOut<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn deliver(&mut self, _now: Now, _batch: &[Delivery], _out: &mut MessageOut<'_>) {}

    fn timeout(&mut self, _now: Now, _out: &mut MessageOut<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn next_timeout(&self) -> Option<Deadline> {
        None
    }
}
