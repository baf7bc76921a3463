//! An engine without models: requests get as far as the name of theirs.

use std::rc::Rc;

use llm::chat::Message;
use llm::front::embedding::EmbeddingWish;
use llm::front::{ChatFormat, Prompt, Report, Request, Responder};
use serve::{ConnectionId, Engine, EngineError, EngineStatus, Limits, ModelInfo, Server, Settings};
use trust::notary::Notary;
use trust::receipt::Maker;
use trust::sha256::PORTABLE;

pub struct Nobody;

impl Engine for Nobody {
    type Ticket = u32;

    fn each_model(&self, _tell: &mut dyn FnMut(ModelInfo)) {}

    fn status(&self) -> EngineStatus {
        EngineStatus::default()
    }

    fn id(&self, _model: Option<&str>) -> Result<u64, EngineError> {
        Err(EngineError::NoModel)
    }

    fn submit(&mut self, _model: Option<&str>, _request: Request<'_>) -> Result<u32, EngineError> {
        Err(EngineError::NoModel)
    }

    fn submit_embedding(
        &mut self,
        _model: Option<&str>,
        _prompt: &Prompt<'_>,
        _wish: EmbeddingWish,
    ) -> Result<u32, EngineError> {
        Err(EngineError::NoModel)
    }

    fn record(&mut self, _: Option<&str>) -> Result<trust::receipt::Model<'static>, EngineError> {
        Err(EngineError::NoModel)
    }

    fn cancel(&mut self, _ticket: u32) -> Option<Report> {
        None
    }

    fn responder(&self, _model: Option<&str>) -> Result<&Responder<'_>, EngineError> {
        Err(EngineError::NoModel)
    }

    fn render(
        &mut self,
        _model: Option<&str>,
        _messages: &[Message<'_>],
        _format: &ChatFormat<'_>,
    ) -> Result<String, EngineError> {
        Err(EngineError::NoModel)
    }
}

thread_local! {
    /// Whose keys are made once: that takes longer than a request.
    static NOTARY: Rc<Notary> =
        Rc::new(Notary::new([7; 32], false, Maker { image_sha256: None, program: "fuzz".into() }, PORTABLE));
}

/// A server with one connection.
pub fn server() -> (Server<u32>, ConnectionId) {
    // Small, so that an input can go beyond them.
    let limits = Limits { head_bytes: 512, body_bytes: 1024, outbox_bytes: 1024, ..Limits::default() };
    let settings = Settings {
        limits,
        max_connections: 1,
        keys: serve::Keys::default(),
        admin: true,
        start_unix_s: None,
        nonce: 0,
        notary: Some(NOTARY.with(Rc::clone)),
        secret: || Some([5; 32]),
        sealed_only: false,
        speculate: 0,
        random: || 0,
        is_memory_low: || false,
    };
    let mut server = Server::new(settings, 0).unwrap();
    let id = server.accept(0).unwrap();
    (server, id)
}

/// Sends a piece and appends what comes back to `answers`.
pub fn exchange(server: &mut Server<u32>, id: ConnectionId, mut piece: &[u8], answers: &mut Vec<u8>) {
    loop {
        let n_taken = server.receive(id, piece, 0);
        piece = &piece[n_taken..];
        server.serve(&mut Nobody, 0);
        let n_unsent = server.unsent(id).len();
        answers.extend_from_slice(server.unsent(id));
        server.sent(id, n_unsent, 0);
        if piece.is_empty() && n_unsent == 0 {
            return;
        }
        assert!(n_taken > 0 || n_unsent > 0 || piece.is_empty(), "the server is stuck");
    }
}
