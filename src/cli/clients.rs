//! `millrace clients`: which clients have connected since the broker's start, what they asked for, and what they were
//! refused. People see the sum of the cores, programs each core.

use crate::base::clients::{ClientCounts, ClientWire, CoreClients, NamedBy, RequestCount};
use crate::cli::broker;
use crate::cli::exit::Failure;
use crate::cli::print::{Output, emit, json, table};
use crate::cli::values::Endpoint;
use crate::protocol::{kafka, native};
use serde::Serialize;
use std::collections::BTreeMap;

/// Asks every core, and prints what they answer.
pub fn run(server: &Endpoint, output: Output) -> Result<(), Failure> {
    let cores = broker::connect(server)?.clients()?;
    emit(&print_clients(&cores, output))
}

#[derive(Serialize)]
struct CoreRow {
    core: u16,
    clients: Vec<ClientRow>,
}

#[derive(Serialize)]
struct ClientRow {
    protocol: &'static str,
    named_by: &'static str,
    name: String,
    version: String,
    open_connections: u32,
    connections: u64,
    requests: Vec<RequestRow>,
    errors: Vec<ErrorRow>,
}

#[derive(Serialize)]
struct RequestRow {
    request: String,
    api: i16,
    version: i16,
    served: bool,
    count: u64,
}

#[derive(Serialize)]
struct ErrorRow {
    error: String,
    code: i16,
    count: u64,
}

/// Every client with its counts.
pub fn print_clients(cores: &[CoreClients], output: Output) -> String {
    if output == Output::Json {
        let rows: Vec<CoreRow> = cores.iter().map(CoreRow::new).collect();
        return json(&rows);
    }
    let all = cores.iter().flat_map(|core| &core.clients);
    let mut sums = BTreeMap::new();
    for client in all {
        let key = (client.wire, client.named_by, &client.name, &client.version);
        sums.entry(key)
            .and_modify(|sum| add(sum, client))
            .or_insert_with(|| client.clone());
    }
    let sums: Vec<ClientRow> = sums.values().map(ClientRow::new).collect();
    let mut text = summary(&sums);
    text.push('\n');
    text += &requests(&sums);
    if sums.iter().any(|client| !client.errors.is_empty()) {
        text.push('\n');
        text += &errors(&sums);
    }
    text
}

fn add(sum: &mut ClientCounts, more: &ClientCounts) {
    sum.open += more.open;
    sum.connections += more.connections;
    for one in &more.requests {
        let same = |known: &&mut RequestCount| {
            (known.api, known.version, known.is_served) == (one.api, one.version, one.is_served)
        };
        match sum.requests.iter_mut().find(same) {
            Some(known) => known.count += one.count,
            None => sum.requests.push(*one),
        }
    }
    for one in &more.errors {
        match sum.errors.iter_mut().find(|known| known.code == one.code) {
            Some(known) => known.count += one.count,
            None => sum.errors.push(*one),
        }
    }
    sum.requests.sort_by_key(|one| (one.api, one.version));
    sum.errors.sort_by_key(|one| one.code);
}

impl CoreRow {
    fn new(told: &CoreClients) -> Self {
        Self {
            core: told.core.0,
            clients: told.clients.iter().map(ClientRow::new).collect(),
        }
    }
}

impl ClientRow {
    fn new(counts: &ClientCounts) -> Self {
        let wire = counts.wire;
        let request = |one: &RequestCount| RequestRow {
            request: request_name(wire, one.api),
            api: one.api,
            version: one.version,
            served: one.is_served,
            count: one.count,
        };
        let errors = counts.errors.iter().map(|one| ErrorRow {
            error: error_name(wire, one.code),
            code: one.code,
            count: one.count,
        });
        Self {
            protocol: match wire {
                ClientWire::Native => "native",
                ClientWire::Kafka => "kafka",
            },
            named_by: match counts.named_by {
                NamedBy::Software => "software",
                NamedBy::Id => "client id",
                NamedBy::Nothing => "others",
            },
            name: counts.name.clone(),
            version: counts.version.clone(),
            open_connections: counts.open,
            connections: counts.connections,
            requests: counts.requests.iter().map(request).collect(),
            errors: errors.collect(),
        }
    }

    /// What a line about it begins with. Its own words may hold anything: a terminal sees them escaped.
    fn head(&self) -> Vec<String> {
        let name = match self.named_by {
            "others" => "(others)".to_owned(),
            "client id" => format!("id {:?}", self.name),
            _ => self.name.escape_debug().to_string(),
        };
        let version = self.version.escape_debug().to_string();
        vec![self.protocol.to_owned(), name, version]
    }
}

fn request_name(wire: ClientWire, api: i16) -> String {
    let known = match wire {
        ClientWire::Native => native::kind_name(api),
        ClientWire::Kafka => kafka::api::find(api).map(|api| api.name),
    };
    known.map_or_else(|| format!("request {api}"), str::to_owned)
}

fn error_name(wire: ClientWire, code: i16) -> String {
    match wire {
        ClientWire::Native => u16::try_from(code)
            .ok()
            .and_then(native::ErrorCode::from_code)
            .map_or_else(|| format!("error {code}"), |known| known.to_string()),
        ClientWire::Kafka => {
            kafka::error::name(code).map_or_else(|| format!("error {code}"), str::to_owned)
        }
    }
}

fn summary(clients: &[ClientRow]) -> String {
    let line = |client: &ClientRow| {
        let requests: u64 = client.requests.iter().map(|one| one.count).sum();
        let errors: u64 = client.errors.iter().map(|one| one.count).sum();
        let mut line = client.head();
        line.extend([
            client.open_connections.to_string(),
            client.connections.to_string(),
            requests.to_string(),
            errors.to_string(),
        ]);
        line
    };
    let header = [
        "PROTOCOL",
        "CLIENT",
        "VERSION",
        "OPEN",
        "CONNECTIONS",
        "REQUESTS",
        "ERRORS",
    ];
    let lines: Vec<_> = clients.iter().map(line).collect();
    table(&header, &[3, 4, 5, 6], &lines)
}

fn requests(clients: &[ClientRow]) -> String {
    let mut lines = Vec::new();
    for client in clients {
        for one in &client.requests {
            let mut line = client.head();
            let remark = if one.served { "" } else { "not served" };
            line.extend([
                one.request.clone(),
                one.version.to_string(),
                one.count.to_string(),
                remark.to_owned(),
            ]);
            lines.push(line);
        }
    }
    let header = [
        "PROTOCOL",
        "CLIENT",
        "VERSION",
        "REQUEST",
        "OF VERSION",
        "COUNT",
        "",
    ];
    table(&header, &[4, 5], &lines)
}

fn errors(clients: &[ClientRow]) -> String {
    let mut lines = Vec::new();
    for client in clients {
        for one in &client.errors {
            let mut line = client.head();
            line.extend([
                one.error.clone(),
                one.code.to_string(),
                one.count.to_string(),
            ]);
            lines.push(line);
        }
    }
    let header = ["PROTOCOL", "CLIENT", "VERSION", "ERROR", "CODE", "COUNT"];
    table(&header, &[4, 5], &lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::CoreId;
    use crate::base::clients::ErrorCount;

    fn counts(wire: ClientWire, named_by: NamedBy, name: &str) -> ClientCounts {
        ClientCounts {
            wire,
            named_by,
            name: name.to_owned(),
            version: "2.0".to_owned(),
            open: 1,
            connections: 3,
            requests: vec![RequestCount {
                api: 1,
                version: 11,
                is_served: true,
                count: 40,
            }],
            errors: vec![ErrorCount { code: 3, count: 2 }],
        }
    }

    fn cores() -> [CoreClients; 2] {
        let mut old = counts(ClientWire::Kafka, NamedBy::Id, "old\nclient");
        old.requests[0] = RequestCount {
            api: 0,
            version: 2,
            is_served: false,
            count: 1,
        };
        let of = |core, clients| CoreClients {
            core: CoreId(core),
            clients,
            more: false,
        };
        let soft = counts(ClientWire::Kafka, NamedBy::Software, "soft");
        let native = counts(ClientWire::Native, NamedBy::Software, "millrace");
        [of(0, vec![soft.clone(), native]), of(1, vec![old, soft])]
    }

    #[test]
    fn people_see_the_sum_of_the_cores() {
        let text = print_clients(&cores(), Output::Table);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for line in [
            ["kafka", "soft", "2.0", "2", "6", "80", "4"],
            ["native", "millrace", "2.0", "1", "3", "40", "2"],
        ] {
            assert!(lines.iter().any(|found| found == &line), "{line:?}: {text}");
        }
        for line in [
            &["kafka", "soft", "2.0", "Fetch", "11", "80"][..],
            &["native", "millrace", "2.0", "Hello", "11", "40"],
            &[
                "kafka",
                "id",
                "\"old\\nclient\"",
                "2.0",
                "Produce",
                "2",
                "1",
                "not",
                "served",
            ],
            &[
                "kafka",
                "soft",
                "2.0",
                "UNKNOWN_TOPIC_OR_PARTITION",
                "3",
                "4",
            ],
            &[
                "native", "millrace", "2.0", "topic", "exists", "already", "3", "2",
            ],
        ] {
            assert!(lines.iter().any(|found| found == line), "{line:?}: {text}");
        }
    }

    #[test]
    fn programs_see_each_core() {
        let text = print_clients(&cores(), Output::Json);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value[1]["core"], 1);
        let old = &value[1]["clients"][0];
        assert_eq!(old["name"], "old\nclient");
        assert_eq!(old["named_by"], "client id");
        assert_eq!(old["requests"][0]["request"], "Produce");
        assert_eq!(old["requests"][0]["served"], false);
        assert_eq!(value[0]["clients"][0]["errors"][0]["code"], 3);
    }
}
