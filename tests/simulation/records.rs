//! The records of the workload: each carries the value that stands for it in the history, and a filling that follows
//! from it, so that a reader sees whether it holds what was sent.

use crate::history::Value;
use millrace::base::record::{BatchBuilder, records};
use millrace::base::{RecordBatch, TimestampMs};

/// Appends the record of `value` with `filling` bytes behind its number.
pub(crate) fn push(
    builder: &mut BatchBuilder,
    value: Value,
    filling: usize,
    scratch: &mut Vec<u8>,
) {
    scratch.clear();
    scratch.extend_from_slice(&value.to_le_bytes());
    scratch.resize(8 + filling, value as u8 ^ 0x5a);
    builder.push(TimestampMs(value as i64), None, Some(scratch), &[]);
}

/// The values of a stored batch, in order. An error says what is wrong with its bytes.
pub(crate) fn values(batch: &RecordBatch<'_>, out: &mut Vec<Value>) -> Result<(), String> {
    batch.check().map_err(|error| error.to_string())?;
    out.clear();
    for (delta, record) in records(batch).enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        let bytes = record.value.ok_or("a record without a value")?;
        let (number, filling) = bytes.split_at_checked(8).ok_or("a record too short")?;
        let value = u64::from_le_bytes(number.try_into().expect("8 bytes"));
        let sound = filling.iter().all(|byte| *byte == value as u8 ^ 0x5a);
        if !sound || record.offset_delta != delta as i64 || record.timestamp.0 != value as i64 {
            return Err(format!("record {delta} does not hold what was sent"));
        }
        out.push(value);
    }
    Ok(())
}
