//! HTTP/1.1 for one connection at a time: what a [`Connection`] makes of the bytes that arrive, and what it sends.
//!
//! Source: RFC 9110 (semantics) and RFC 9112 (messages). A request whose length can be read in two ways is refused, since a proxy
//! in front may have read it in the other.
//!
//! # Layers
//!
//! | module | what it is |
//! |---|---|
//! | `connection` | bytes in, requests out; answers in, bytes out |
//! | `body` | the bytes of a body |
//! | `sealed` | bodies that only a client and the holder of a key can read |
//! | `response` | the head of an answer |
//! | `head` | the head of a request |
//! | `limits` | what a client may make large or slow |

mod body;
mod connection;
mod head;
mod limits;
mod response;
mod sealed;

pub use connection::{Connection, Received};
pub use head::{Head, Method};
pub use limits::Limits;
pub use response::{ContentType, Rate, Response};
pub use sealed::Sealed;
