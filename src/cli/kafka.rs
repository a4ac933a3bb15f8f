//! Serving Kafka clients: the flags, and what they ask for on so many cores.

use crate::base::limits::{PRODUCER_EXPIRATION_MS_DEFAULT, TOPIC_PARTITIONS_MAX};
use crate::cli::exit::{Exit, Failure};
use crate::cli::serve::ports;
use crate::cli::values::Endpoint;
use crate::engine::TopicSettings;
use std::net::SocketAddr;
use std::str::FromStr;

/// Where Kafka clients dial, or that they cannot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// They are not served.
    Off,
    /// At this address.
    At(Endpoint),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At),
        }
    }
}

/// `HOST` or `HOST:PORT`, as clients are told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertised {
    host: String,
    port: Option<u16>,
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(Endpoint { host, port }) = text.parse() {
            let port = Some(port);
            return Ok(Self { host, port });
        }
        // Without a port: what is a host with one is a host.
        let endpoint = format!("{text}:1").parse::<Endpoint>();
        let wanted = || format!("{text:?} is no HOST or HOST:PORT, such as broker.example:9092");
        let Endpoint { host, .. } = endpoint.map_err(|_| wanted())?;
        Ok(Self { host, port: None })
    }
}

/// The flags of `serve` for Kafka clients.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct KafkaArgs {
    /// Address of core 0 for Kafka clients, who see each core as a broker; core N listens N ports above it. off: none
    #[arg(
        id = "kafka",
        long = "kafka",
        value_name = "HOST:PORT|off",
        default_value = "127.0.0.1:9092"
    )]
    pub listen: Listen,

    /// Host that Kafka clients are told to dial, and the port of core 0 where it is not the one listened on
    #[arg(
        id = "kafka_advertised",
        long = "kafka-advertised",
        value_name = "HOST[:PORT]"
    )]
    pub advertised: Option<Advertised>,

    /// One port for all cores, such as behind a port mapping: core 0 takes all connections and forwards to the others
    #[arg(id = "kafka_single_port", long = "kafka-single-port")]
    pub single_port: bool,

    /// Make no topic just because a Kafka client asks for it
    #[arg(id = "kafka_no_auto_create", long = "kafka-no-auto-create")]
    pub no_auto_create: bool,

    /// Partitions of a topic that a Kafka client asks for without saying how many
    #[arg(id = "kafka_partitions", long = "kafka-partitions", value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(TOPIC_PARTITIONS_MAX)))]
    pub partitions: u32,

    /// For how many milliseconds a producer that numbers its batches (enable.idempotence) is remembered while it is silent
    #[arg(id = "kafka_producer_expiration_ms", long = "kafka-producer-expiration-ms", value_name = "MS",
          default_value_t = PRODUCER_EXPIRATION_MS_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..=i32::MAX as u64))]
    pub producer_expiration_ms: u64,
}

/// How Kafka clients are served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KafkaPlan {
    /// By core: where it listens. Only core 0 does where there is one port for all.
    pub listen: Vec<SocketAddr>,
    /// The host that clients are told.
    pub host: String,
    /// The port of core 0 that they are told, where it is another one.
    pub port: Option<u16>,
    /// Whether topics are made when they are asked for.
    pub auto_create: bool,
    /// How many partitions a topic gets unasked.
    pub partitions: u32,
    /// How long producers that number their batches are remembered while they are silent.
    pub producer_expiration_ms: u64,
}

impl KafkaArgs {
    /// The plan for so many cores; `host` is what clients are told to dial unless a flag here says otherwise.
    pub fn plan(&self, cores: usize, host: Option<&str>) -> Result<Option<KafkaPlan>, Failure> {
        let Listen::At(endpoint) = &self.listen else {
            return Ok(None);
        };
        let first = endpoint.first_address("--kafka")?;
        let advertised = self.advertised.as_ref();
        let host = advertised
            .map(|advertised| advertised.host.as_str())
            .or(host);
        let host = match host {
            Some(host) => host.to_owned(),
            None if first.ip().is_unspecified() => {
                return Err(Failure::new(
                    Exit::Usage,
                    "listening for Kafka on all addresses names none that clients could dial; add --kafka-advertised HOST",
                ));
            }
            None => first.ip().to_string(),
        };
        Ok(Some(KafkaPlan {
            listen: ports(first, if self.single_port { 1 } else { cores })?,
            host,
            port: advertised.and_then(|advertised| advertised.port),
            auto_create: !self.no_auto_create,
            partitions: self.partitions,
            producer_expiration_ms: self.producer_expiration_ms,
        }))
    }
}

impl KafkaPlan {
    /// The port that clients are told for `core`, which listens on `bound`.
    pub fn told_port(&self, core: usize, bound: u16) -> u16 {
        self.port
            .map_or(bound, |first| first.wrapping_add(core as u16))
    }

    /// What a topic is made with unasked.
    pub fn settings() -> TopicSettings {
        TopicSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    fn plan(flags: &[&str], cores: usize, host: Option<&str>) -> Result<Option<KafkaPlan>, Exit> {
        let line = Line::try_parse_from([&["serve"], flags].concat()).map_err(|_| Exit::Usage)?;
        line.kafka.plan(cores, host).map_err(|failure| failure.exit)
    }

    #[test]
    fn each_core_is_a_broker_on_a_port_of_its_own_unless_one_stands_for_all() {
        let plan = |flags: &[&str]| plan(flags, 3, None).expect("good").expect("on");
        let ports =
            |plan: &KafkaPlan| -> Vec<u16> { plan.listen.iter().map(SocketAddr::port).collect() };
        let unasked = plan(&[]);
        assert_eq!(ports(&unasked), [9092, 9093, 9094]);
        assert_eq!(
            (unasked.host.as_str(), unasked.told_port(1, 9093)),
            ("127.0.0.1", 9093)
        );
        assert!(unasked.auto_create && unasked.partitions == 1);
        let mapped = plan(&["--kafka-single-port", "--kafka-advertised", "example:30092"]);
        assert_eq!(ports(&mapped), [9092]);
        assert_eq!(
            (mapped.host.as_str(), mapped.told_port(0, 9092)),
            ("example", 30092)
        );
        let named = plan(&["--kafka", "0.0.0.0:7000", "--kafka-advertised", "example"]);
        assert_eq!(
            (named.host.as_str(), named.told_port(2, 7002)),
            ("example", 7002)
        );
    }

    #[test]
    fn off_is_off_and_what_cannot_be_is_refused() {
        assert_eq!(plan(&["--kafka", "off"], 1, None), Ok(None));
        let told = plan(&["--kafka", "0.0.0.0:1"], 1, Some("example")).expect("good");
        assert_eq!(told.expect("on").host, "example");
        for flags in [
            &["--kafka", "0.0.0.0:1"][..],
            &["--kafka", "127.0.0.1:65535"],
            &["--kafka", "x"],
            &["--kafka-advertised", "a b"],
            &["--kafka-partitions", "0"],
        ] {
            assert_eq!(plan(flags, 2, None), Err(Exit::Usage), "{flags:?}");
        }
    }
}
