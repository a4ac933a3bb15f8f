//! Where the broker's cores listen, and which of them to ask.

use crate::base::CoreId;
use crate::protocol::native::CoreAddress;
use std::net::IpAddr;

/// The addresses of a broker: those that the user knows, and those that the broker told.
#[derive(Clone, Debug)]
pub struct Cluster {
    bootstrap: Vec<String>,
    cores: Vec<CoreAddress>,
    steering: bool,
}

impl Cluster {
    /// Knows `bootstrap` addresses (`host:port`), at least one. Without `steering`, only those are ever dialled: the
    /// broker serves every partition on every port, at the cost of a hop between its cores.
    pub fn new(bootstrap: Vec<String>, steering: bool) -> Self {
        assert!(!bootstrap.is_empty(), "a broker to ask");
        Self {
            bootstrap,
            cores: Vec::new(),
            steering,
        }
    }

    /// Takes what the broker told.
    pub fn learn(&mut self, cores: Vec<CoreAddress>) {
        self.cores = cores;
    }

    /// Where to try to find the broker, best first.
    pub fn bootstrap(&self) -> &[String] {
        &self.bootstrap
    }

    /// The address to ask for partitions of `core`. A core that is not known, or that listens on every address of a host
    /// whose name it does not know, is reached by what the user knows.
    pub fn address(&self, core: CoreId) -> String {
        let known = self.cores.iter().find(|address| address.core == core);
        let Some(known) = known.filter(|_| self.steering) else {
            return self.bootstrap[0].clone();
        };
        let any = known
            .host
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_unspecified());
        let host = if any {
            self.bootstrap[0]
                .rsplit_once(':')
                .map_or(self.bootstrap[0].as_str(), |(host, _)| host)
        } else {
            &known.host
        };
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{}", known.port)
        } else {
            format!("{host}:{}", known.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(host: &str, steering: bool) -> Cluster {
        let mut cluster = Cluster::new(vec!["broker.example:7420".to_owned()], steering);
        cluster.learn(vec![CoreAddress {
            core: CoreId(1),
            host: host.to_owned(),
            port: 7_421,
        }]);
        cluster
    }

    #[test]
    fn a_core_is_dialled_where_it_says_unless_that_says_nothing() {
        let rows = [
            ("10.0.0.7", true, 1, "10.0.0.7:7421"),
            ("::1", true, 1, "[::1]:7421"),
            ("0.0.0.0", true, 1, "broker.example:7421"),
            ("::", true, 1, "broker.example:7421"),
            ("10.0.0.7", false, 1, "broker.example:7420"),
            ("10.0.0.7", true, 2, "broker.example:7420"),
        ];
        for (host, steering, core, expected) in rows {
            let address = cluster(host, steering).address(CoreId(core));
            assert_eq!(address, expected, "{host} {steering} {core}");
        }
    }
}
