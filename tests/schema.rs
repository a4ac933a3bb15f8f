//! Goal: the committed `generated.rs` belongs to the committed schema. Method: the hash that was noted when the code was
//! generated against the hash of the schema file; nobody needs flatc for that.

use sha2::{Digest, Sha256};
use std::path::Path;

#[test]
fn generated_code_belongs_to_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/native.fbs");
    let schema = std::fs::read(&path).expect("the schema is in the tree");
    let hash: String = Sha256::digest(&schema)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hash,
        millrace::protocol::native::SCHEMA_SHA256,
        "schema/native.fbs changed: regenerate as src/protocol/native/mod.rs says"
    );
}
