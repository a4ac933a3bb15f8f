//! Goal: how long silent producers are remembered is what the command line says, and told. Method: a broker that remembers them
//! for a millisecond; how long a day is, is tested where the clock is made (shard/tests/numbered).

use super::*;

#[test]
fn a_producer_that_was_silent_for_too_long_may_go_on_with_any_number() {
    let folder = Directory::new("kafka-silent");
    let flags = [
        "--kafka",
        "127.0.0.1:0",
        "--kafka-producer-expiration-ms",
        "1",
    ];
    let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(1), &flags);
    let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    let told: InitProducerIdResponse =
        peer.ask(key::INIT_PRODUCER_ID, 4, &InitProducerIdRequest::default());
    for (offset, number) in [(0, 0), (1, 500), (2, 500)] {
        let body = produce("t", -1, &[(0, &numbered(told.producer_id, number))]);
        peer.send(key::PRODUCE, 7, 1, &body);
        // The same number again is no duplicate any more either.
        let answer = peer.receive().unwrap().1;
        assert_eq!(produced(&answer), [(0, 0, offset)], "{number}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = DescribeConfigsRequest {
        resources: vec![ConfigResource {
            resource_type: describe_configs::BROKER,
            resource_name: "0".to_owned(),
            configuration_keys: Some(vec!["producer.id.expiration.ms".to_owned()]),
        }],
        ..DescribeConfigsRequest::default()
    };
    let told: DescribeConfigsResponse = peer.ask(key::DESCRIBE_CONFIGS, 4, &asked);
    let [config] = &told.results[0].configs[..] else {
        panic!("{told:?}");
    };
    assert_eq!(config.value.as_deref(), Some("1"));
}
