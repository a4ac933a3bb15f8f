//! Goal: no bytes that a broker tells as a histogram make the client panic or take much memory, also not when percentiles
//! are asked of it.
//! Input: the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::stages::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let Some(histogram) = decode(bytes) else {
        return;
    };
    // Counts that overflow their sum make a nonsense of the order; they are the broker's, and no worse than a lie.
    for quantile in [0.0, 0.5, 0.99, 0.999, 1.0] {
        let _ = histogram.value_at_quantile(quantile);
    }
    let _ = (histogram.max(), histogram.mean(), histogram.len());
    let again = decode(&encode(&histogram)).expect("encoded by us");
    assert_eq!(again.len(), histogram.len());
});
