//! Goal: no text makes the reader of the node's identity panic; what it takes is an identity as it is written.
//! Input: the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::ops::node::parse;
use std::path::Path;

fuzz_target!(|text: &str| match parse(Path::new("node"), text) {
    Ok(node) => assert!(text.to_lowercase().contains(&node.to_string())),
    Err(error) => assert!(!error.to_string().is_empty()),
});
