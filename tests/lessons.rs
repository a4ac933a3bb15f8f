//! Goal: what has cost others their data is tried here, one test for each failure. Method: a table of those failures, each with
//! the test that would catch it in this broker, or what it would take to happen. The tests themselves run
//! with all others; this one sees that none of them is gone or has another name.

use std::path::Path;

/// What stands against a failure.
enum Guard {
    /// A file and a test in it.
    Test(&'static str, &'static str),
    /// What it would take for it to happen, by the folder that would hold it.
    Needs(&'static str),
}

use Guard::{Needs, Test};

const CRASH: &str = "src/log/tests/crash.rs";
const DECAY: &str = "src/log/tests/decay.rs";
const DAMAGE: &str = "src/log/tests/damage.rs";
const FAIL: &str = "src/log/tests/fail.rs";
const POWER: &str = "tests/powercut.rs";
const RESTART: &str = "src/shard/tests/restart.rs";
const NUMBERED: &str = "src/shard/tests/numbered.rs";
const SURVIVES_POWER: &str = "what_was_synced_survives_a_power_cut_at_every_effect";
const FINAL_OR_HARMLESS: &str = "a_failure_at_any_operation_is_final_or_harmless";

/// Who, what went wrong, and what stands against it.
const LESSONS: &[(&str, &str, Guard)] = &[
    (
        "NATS JetStream",
        "acknowledged, and synced two minutes later",
        Test(POWER, "acked_survives_a_few_power_cuts_on_ext4"),
    ),
    (
        "NATS JetStream",
        "deleted a stream whose metadata it did not find",
        Test(RESTART, "what_the_catalog_does_not_know_is_kept_and_told"),
    ),
    (
        "NATS JetStream",
        "took a broken start for an empty one",
        Test(
            RESTART,
            "partitions_without_a_catalog_keep_the_broker_from_starting",
        ),
    ),
    (
        "NATS JetStream",
        "a corrupt replica led",
        Needs("replication"),
    ),
    (
        "Redpanda",
        "took a batch whose checksum is zero for the end of the log",
        Test(
            DAMAGE,
            "a_batch_whose_checksum_is_zero_is_one_like_any_other",
        ),
    ),
    (
        "Redpanda",
        "stored a numbered batch twice",
        Test(
            NUMBERED,
            "nothing_is_taken_twice_across_the_death_of_the_broker",
        ),
    ),
    (
        "Kafka",
        "the last replica lost its page cache and led",
        Needs("replication"),
    ),
    (
        "Kafka",
        "a late end of a transaction hit the next one",
        Needs("transaction"),
    ),
    (
        "RabbitMQ",
        "lost messages on their way to the dead letters",
        Test(
            "src/shard/tests/queues/crashes.rs",
            "no_record_is_lost_or_comes_twice_after_a_power_cut_at_any_effect",
        ),
    ),
    (
        "RabbitMQ",
        "a pending message was never sent again, and later ones were taken",
        Test(
            NUMBERED,
            "a_batch_waits_for_the_one_before_it_that_was_refused_for_a_moment",
        ),
    ),
    (
        "etcd",
        "a single node acknowledged before its sync",
        Test(CRASH, SURVIVES_POWER),
    ),
    (
        "PostgreSQL",
        "a sync that had failed was tried again, and believed",
        Test(POWER, "a_failed_flush_is_final"),
    ),
    (
        "CockroachDB",
        "acknowledged after a sync had failed",
        Test(FAIL, FINAL_OR_HARMLESS),
    ),
    (
        "ScyllaDB",
        "what an earlier use had left in a recycled segment was replayed",
        Test(
            FAIL,
            "a_full_disk_while_a_journal_file_is_recycled_is_harmless",
        ),
    ),
    (
        "ScyllaDB",
        "padding that was never zeroed was read as data",
        Test(
            "src/io/sim/buffer.rs",
            "fresh_memory_is_aligned_noise_and_only_shrinks",
        ),
    ),
    (
        "openraft, robustmq",
        "a vote that was stale, or not synced, counted",
        Needs("replication"),
    ),
    (
        "TiKV",
        "told readers of more than a restart then had",
        Test("tests/tail.rs", "what_was_seen_is_never_taken_back"),
    ),
    (
        "Iggy",
        "built an index anew that was not the log's",
        Test(DECAY, "a_file_that_is_gone_is_told_or_made_again"),
    ),
    (
        "sled",
        "took a header of zeros for an empty file",
        Test(
            DAMAGE,
            "a_journal_file_is_known_by_its_entries_where_its_header_is_wrong",
        ),
    ),
    (
        "sled",
        "took a block of zeros for the end",
        Test(
            DECAY,
            "damage_in_a_file_is_told_or_harmless_after_a_clean_stop",
        ),
    ),
    (
        "WiredTiger",
        "a new file's name was not synced",
        Test(CRASH, SURVIVES_POWER),
    ),
    (
        "iNexus",
        "a rename was not synced",
        Test(
            "src/shard/tests/crash.rs",
            "topics_are_whole_after_a_power_cut_at_any_effect",
        ),
    ),
    (
        "glommio",
        "a write that came out short was taken for a whole one",
        Test(FAIL, FINAL_OR_HARMLESS),
    ),
];

#[test]
fn every_failure_of_others_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = 0;
    for (who, what, guard) in LESSONS {
        let Test(file, name) = guard else {
            if let Needs(missing) = guard {
                let room = root.join("src").join(missing);
                assert!(
                    !room.exists(),
                    "{who}: {what}: {missing} is here, and no test"
                );
            }
            continue;
        };
        let text = std::fs::read_to_string(root.join(file)).expect("a file of the tests");
        // Behind the attribute, and others maybe, comes the function.
        let is_test = text.split("#[test]").skip(1).any(|rest| {
            let function = rest.split_once("fn ").map(|(_, function)| function);
            function.is_some_and(|function| function.starts_with(&format!("{name}(")))
        });
        assert!(is_test, "{who}: {what}: there is no test {name} in {file}");
        tests += 1;
    }
    assert!(tests >= 15, "{tests} tests");
}
