//! ListOffsets: the first, the last, the youngest, or the one that a time stands for.

use crate::base::batch::LEADER_EPOCH;
use crate::base::{Offset, TimestampMs};
use crate::engine::{EngineError, OffsetQuery};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Of which partitions.
    pub struct ListOffsetsRequest {
        replica_id: i32 [0] = -1,
        isolation_level: i8 [2],
        topics: Vec<ListOffsetsTopic> [0],
        timeout_ms: i32 [10],
    }
}

message! {
    /// Of which partitions of a topic.
    pub struct ListOffsetsTopic {
        name: String [0],
        partitions: Vec<ListOffsetsPartition> [0],
    }
}

message! {
    /// Which offset of a partition: a time, or one of the negative numbers that stand for something else.
    pub struct ListOffsetsPartition {
        partition_index: i32 [0],
        current_leader_epoch: i32 [4] = -1,
        timestamp: i64 [0],
    }
}

message! {
    /// The answer.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32 [2],
        topics: Vec<ListOffsetsTopicResponse> [0],
    }
}

message! {
    /// For one topic.
    pub struct ListOffsetsTopicResponse {
        name: String [0],
        partitions: Vec<ListOffsetsPartitionResponse> [0],
    }
}

message! {
    /// For one partition.
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32 [0],
        error_code: i16 [0],
        timestamp: i64 [1] = -1,
        offset: i64 [1] = -1,
        leader_epoch: i32 [4] = -1,
    }
}

/// What a timestamp of a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// An offset.
    Offset(OffsetQuery),
    /// The last one that was moved to another tier: there is none, and no error in that.
    Tiered,
    /// What its version does not have.
    Unsupported,
}

/// The negative numbers that stand for something else than a time, and the version that each came with.
const SPECIAL: [(i64, i16, Asked); 5] = [
    (-1, 1, Asked::Offset(OffsetQuery::Latest)),
    (-2, 1, Asked::Offset(OffsetQuery::Earliest)),
    (-3, 7, Asked::Offset(OffsetQuery::Youngest)),
    // The first that is kept here: all are.
    (-4, 8, Asked::Offset(OffsetQuery::Earliest)),
    (-5, 9, Asked::Tiered),
];

/// What a timestamp of a request of `version` asks for.
pub fn asked(timestamp: i64, version: i16) -> Asked {
    if timestamp >= 0 {
        return Asked::Offset(OffsetQuery::AtTime(TimestampMs(timestamp)));
    }
    let row = SPECIAL
        .iter()
        .find(|(number, first, _)| *number == timestamp && version >= *first);
    row.map_or(Asked::Unsupported, |(_, _, asked)| *asked)
}

/// The answer for one partition; `found` is what the engine says if `asked` is an offset.
pub fn partition(
    partition_index: i32,
    asked: Asked,
    found: Option<Result<(Offset, Option<TimestampMs>), EngineError>>,
) -> ListOffsetsPartitionResponse {
    let mut answer = ListOffsetsPartitionResponse {
        partition_index,
        ..ListOffsetsPartitionResponse::default()
    };
    let is_search = matches!(
        asked,
        Asked::Offset(OffsetQuery::AtTime(_) | OffsetQuery::Youngest)
    );
    match found {
        None if asked == Asked::Unsupported => answer.error_code = error::UNSUPPORTED_VERSION,
        None => {}
        Some(Err(refusal)) => answer.error_code = error::code(&refusal),
        // No such record: an offset would be read as that of one.
        Some(Ok((_, None))) if is_search => {}
        Some(Ok((offset, timestamp))) => {
            answer.offset = offset.0 as i64;
            answer.timestamp = timestamp.map_or(-1, |time| time.0);
            answer.leader_epoch = LEADER_EPOCH;
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_number_stands_for_begins_with_a_version() {
        for (number, first, meaning) in SPECIAL {
            assert_eq!(asked(number, first - 1), Asked::Unsupported, "{number}");
            assert_eq!(asked(number, first), meaning);
            assert_eq!(asked(number, 10), meaning);
        }
        assert_eq!(asked(-6, 10), Asked::Unsupported);
        let epoch = OffsetQuery::AtTime(TimestampMs(0));
        assert_eq!(asked(0, 1), Asked::Offset(epoch));
    }

    #[test]
    fn no_record_found_is_no_offset_and_no_error() {
        let told = |query, found| {
            let answer = partition(3, Asked::Offset(query), Some(Ok(found)));
            assert_eq!((answer.partition_index, answer.error_code), (3, 0));
            (answer.offset, answer.timestamp)
        };
        let end = (Offset(7), None);
        let at = (Offset(5), Some(TimestampMs(9)));
        for query in [OffsetQuery::AtTime(TimestampMs(1)), OffsetQuery::Youngest] {
            assert_eq!((told(query, end), told(query, at)), ((-1, -1), (5, 9)));
        }
        assert_eq!(told(OffsetQuery::Latest, end), (7, -1));
        let tiered = partition(0, Asked::Tiered, None);
        assert_eq!((tiered.offset, tiered.error_code), (-1, 0));
        let unsupported = partition(0, Asked::Unsupported, None);
        assert_eq!(unsupported.error_code, error::UNSUPPORTED_VERSION);
    }
}
