// The Java client: create, produce with every codec, idempotent and not, consume from the beginning, by time, at the tail,
// admin calls.
//
//   Client SERVER SCRATCH         the scenario
//   Client member SERVER GROUP    a member of a group, as group.py runs it
//   Client crash SERVER TOPIC     produces through the death of a broker, as crash.py runs it

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Client {
    static final String TOPIC = "java";
    static final int PARTITIONS = 4;
    static String server;

    static Properties with(String... pairs) {
        Properties made = new Properties();
        made.put("bootstrap.servers", server);
        for (int at = 0; at < pairs.length; at += 2) made.put(pairs[at], pairs[at + 1]);
        return made;
    }

    static KafkaProducer<String, String> producer(String... pairs) {
        return new KafkaProducer<>(with(pairs), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String... pairs) {
        return new KafkaConsumer<>(with(pairs), new StringDeserializer(), new StringDeserializer());
    }

    static void produce(List<String> values, String... pairs) throws Exception {
        try (var producer = producer(pairs)) {
            List<Future<?>> sent = new ArrayList<>();
            for (int at = 0; at < values.size(); at++)
                sent.add(producer.send(new ProducerRecord<>(TOPIC, at % PARTITIONS, null, values.get(at))));
            for (var one : sent) one.get();
        }
    }

    static List<String> consume(KafkaConsumer<String, String> consumer, int count) {
        List<String> values = new ArrayList<>();
        long until = System.nanoTime() + 20_000_000_000L;
        while (values.size() < count) {
            check(System.nanoTime() < until, values.size() + " of " + count);
            for (var record : consumer.poll(Duration.ofMillis(200))) values.add(record.value());
        }
        return values;
    }

    static void same(List<String> found, List<String> wanted) {
        Collections.sort(found);
        List<String> sorted = new ArrayList<>(wanted);
        Collections.sort(sorted);
        check(found.equals(sorted), found.size() + " values, wanted " + wanted.size());
    }

    static void check(boolean is, Object told) {
        if (!is) throw new AssertionError(told);
    }

    static void scenario() throws Exception {
        try (var admin = Admin.create(with())) {
            admin.createTopics(List.of(new NewTopic(TOPIC, PARTITIONS, (short) 1))).all().get();
            List<String> sent = new ArrayList<>();
            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
                for (String idempotent : List.of("true", "false")) {
                    List<String> values = new ArrayList<>();
                    for (int value = 0; value < 1000; value++) values.add(codec + idempotent + value);
                    produce(values, "compression.type", codec, "enable.idempotence", idempotent);
                    sent.addAll(values);
                }
            for (String acks : List.of("0", "1", "all")) {
                List<String> values = Collections.nCopies(100, "acks-" + acks);
                produce(values, "acks", acks, "enable.idempotence", "false");
                sent.addAll(values);
            }
            List<TopicPartition> all = new ArrayList<>();
            for (int part = 0; part < PARTITIONS; part++) all.add(new TopicPartition(TOPIC, part));
            try (var consumer = consumer("enable.auto.commit", "false")) {
                consumer.assign(all);
                consumer.seekToBeginning(all);
                same(consume(consumer, sent.size()), sent);

                Thread.sleep(50);
                long now = System.currentTimeMillis();
                List<String> late = Collections.nCopies(PARTITIONS, "late");
                produce(late);
                Map<TopicPartition, Long> times = new HashMap<>();
                for (var part : all) times.put(part, now);
                var ends = consumer.endOffsets(all);
                consumer.offsetsForTimes(times).forEach((part, found) -> {
                    check(found.offset() == ends.get(part) - 1, part + " " + found + " " + ends);
                    consumer.seek(part, found.offset());
                });
                same(consume(consumer, PARTITIONS), late);

                consumer.seekToEnd(all);
                // Where the end is, is asked now, not with the next poll.
                for (var part : all) consumer.position(part);
                check(consumer.poll(Duration.ofMillis(300)).isEmpty(), "nothing is behind the end");
                List<String> tail = Collections.nCopies(PARTITIONS, "tail");
                produce(tail);
                same(consume(consumer, PARTITIONS), tail);
            }
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
            var configs = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            check(!configs.entries().isEmpty(), "a topic without settings");
            check(!admin.describeCluster().nodes().get().isEmpty(), "a cluster without brokers");
            admin.deleteTopics(List.of(TOPIC)).all().get();
            check(!admin.listTopics().names().get().contains(TOPIC), "the topic is still there");
        }
    }

    static void member(String group) throws Exception {
        AtomicBoolean end = new AtomicBoolean();
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            end.set(true);
            try {
                main.join();
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
        }));
        try (var consumer = consumer("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", "false",
                "session.timeout.ms", "6000", "heartbeat.interval.ms", "500")) {
            consumer.subscribe(List.of(group), new ConsumerRebalanceListener() {
                public void onPartitionsRevoked(Collection<TopicPartition> parts) {}

                public void onPartitionsAssigned(Collection<TopicPartition> parts) {
                    StringBuilder words = new StringBuilder("assigned");
                    var mine = new TreeSet<Integer>();
                    for (var part : consumer.assignment()) mine.add(part.partition());
                    for (int part : mine) words.append(' ').append(part);
                    System.out.println(words);
                }
            });
            while (!end.get()) {
                ConsumerRecords<String, String> polled = consumer.poll(Duration.ofMillis(100));
                for (ConsumerRecord<String, String> record : polled) System.out.println("value " + record.value());
                try {
                    if (!polled.isEmpty()) consumer.commitSync();
                } catch (CommitFailedException | RebalanceInProgressException late) {
                    // Too late in a rebalance: it is read again.
                }
            }
        }
    }

    static void crash(String topic) throws Exception {
        try (var producer = producer("delivery.timeout.ms", "60000", "request.timeout.ms", "5000", "linger.ms", "2",
                "reconnect.backoff.max.ms", "500")) {
            var lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line; (line = lines.readLine()) != null; ) {
                String value = line;
                int part = Integer.parseInt(value) % PARTITIONS;
                producer.send(new ProducerRecord<>(topic, part, null, value), (told, error) -> {
                    synchronized (System.out) {
                        System.out.println(error == null ? "acked " + value : "failed " + value + " " + error);
                    }
                });
            }
            producer.flush();
        }
    }

    public static void main(String[] words) throws Exception {
        boolean isScenario = !List.of("member", "crash").contains(words[0]);
        server = isScenario ? words[0] : words[1];
        if (isScenario) scenario();
        else if (words[0].equals("member")) member(words[2]);
        else crash(words[2]);
    }
}
