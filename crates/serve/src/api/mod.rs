//! The routes of the API: the JSON of requests and answers.
//!
//! Names and shapes are OpenAI's, or Anthropic's at its paths. What OpenAI does not have is as in llama.cpp's server.
//!
//! # Layers
//!
//! | module | what it is |
//! |---|---|
//! | [`props`] | how a model is asked, and the places for its texts |
//! | [`wish`] | what a request for text asks of the engine |
//! | [`embeddings`] | texts as vectors |
//! | [`rerank`] | documents ranked by a query |
//! | [`said`] | what was said, as the engine takes it |
//! | [`fields`] | the fields of a request for text |
//! | [`values`] | values of fields that can be written in several ways |
//! | [`conversation`] | messages and tools |
//! | [`answer`] | text, as it is generated, in the shape of the route |
//! | [`messages`], [`responses`] | the same in Anthropic's shape, and in that of OpenAI's responses |
//! | [`told`] | what these have in common |
//! | [`refusal`] | errors |
//! | [`blocks`] | an answer as what is said, thought and called |
//! | [`models`] | the lists of models |
//! | [`usage`] | counts and times of an answer |
//! | [`logprobs`] | log-probabilities of tokens |
//! | [`route`] | which paths there are |
//! | [`json`] | reading with bounds and names, writing without surprise |

pub mod answer;
pub mod blocks;
pub mod conversation;
pub mod embeddings;
pub mod fields;
pub mod json;
pub mod logprobs;
pub mod messages;
pub mod models;
pub mod props;
pub mod refusal;
pub mod rerank;
pub mod responses;
pub mod route;
pub mod said;
pub mod told;
pub mod usage;
pub mod values;
pub mod wish;
