//! HTTP/1.1 for one connection at a time: [`Connection`] turns the bytes that arrive into requests, and answers into
//! bytes to be sent.
//!
//! Source: RFC 9110 (semantics) and RFC 9112 (messages). A request whose length can be read in two ways is refused,
//! because a proxy in front of the server may have read it the other way.
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
