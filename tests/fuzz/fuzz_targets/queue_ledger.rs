//! Goal: no bytes make the decoder of a queue's ledger or its replay panic; what is decoded is written back as it was; and
//! whatever was replayed, the checkpoint of it gives the same state again.
//! Input: the value of a record of a ledger's partition.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::queue::QueueSettings;
use millrace::base::{Offset, TimestampMs};
use millrace::queue::{DecodeError, Ledger, LedgerRecord, Moment, Output, decode_all, encode_all};

const NOW: Moment = Moment {
    monotonic_ms: 1_000,
    wall: TimestampMs(1_700_000_000_000),
};

fn replay(records: &[LedgerRecord]) -> Vec<LedgerRecord> {
    let mut ledger = Ledger::new(QueueSettings::default(), Offset(0), &NOW);
    for record in records {
        // One that contradicts those before it is told; the next ones are taken all the same.
        let _ = ledger.replay(*record);
    }
    let mut out = Output::default();
    ledger.recovered(&NOW, &mut out);
    out.records
}

fuzz_target!(|bytes: &[u8]| {
    let decoded: Result<Vec<LedgerRecord>, DecodeError> =
        decode_all(bytes).and_then(|records| records.collect());
    match decoded {
        Ok(records) => {
            let mut again = Vec::new();
            encode_all(&records, &mut again);
            assert_eq!(again, bytes);
            let checkpoint = replay(&records);
            assert_eq!(replay(&checkpoint), checkpoint);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
