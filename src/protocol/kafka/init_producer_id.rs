//! InitProducerId: a fresh id for a producer that numbers its batches.

use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Who asks. An id that it had is given up: a fresh one does the same for a producer without transactions.
    pub struct InitProducerIdRequest {
        transactional_id: Option<String> [0],
        transaction_timeout_ms: i32 [0],
        producer_id: i64 [3] = -1,
        producer_epoch: i16 [3] = -1,
    }
}

message! {
    /// The answer.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [0],
        producer_id: i64 [0] = -1,
        producer_epoch: i16 [0] = -1,
    }
}

/// The answer; `fresh` is an id that no producer ever had. There are no transactions yet.
pub fn answer(
    request: &InitProducerIdRequest,
    fresh: impl FnOnce() -> i64,
) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return InitProducerIdResponse {
            error_code: error::INVALID_REQUEST,
            ..InitProducerIdResponse::default()
        };
    }
    InitProducerIdResponse {
        producer_id: fresh(),
        producer_epoch: 0,
        ..InitProducerIdResponse::default()
    }
}
