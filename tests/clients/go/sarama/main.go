// sarama: create, produce with every codec, idempotent and not, consume from the beginning, by time, at the tail, admin calls.
//
//	sarama SERVER SCRATCH         the scenario
//	sarama member SERVER GROUP    a member of a group, as group.py runs it
//	sarama crash SERVER TOPIC     produces through the death of a broker, as crash.py runs it
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

const (
	topic      = "sarama"
	partitions = 4
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func config() *sarama.Config {
	made := sarama.NewConfig()
	made.Version = sarama.V3_6_0_0
	made.Producer.Return.Successes = true
	made.Producer.Partitioner = sarama.NewManualPartitioner
	made.Producer.RequiredAcks = sarama.WaitForAll
	return made
}

func idempotent(made *sarama.Config) *sarama.Config {
	made.Producer.Idempotent = true
	made.Net.MaxOpenRequests = 1
	return made
}

func produce(server string, values []string, with *sarama.Config) {
	producer, err := sarama.NewSyncProducer([]string{server}, with)
	check(err)
	messages := []*sarama.ProducerMessage{}
	for number, value := range values {
		part := int32(number % partitions)
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Partition: part, Value: sarama.StringEncoder(value)})
	}
	check(producer.SendMessages(messages))
	check(producer.Close())
}

// consume reads so many values of all partitions, each from the offset that `from` names.
func consume(server string, count int, from func(part int32) int64, then func()) []string {
	consumer, err := sarama.NewConsumer([]string{server}, config())
	check(err)
	all := make(chan string)
	for part := range int32(partitions) {
		one, err := consumer.ConsumePartition(topic, part, from(part))
		check(err)
		go func() {
			for message := range one.Messages() {
				all <- string(message.Value)
			}
		}()
	}
	then()
	values, patience := []string{}, time.After(20*time.Second)
	for len(values) < count {
		select {
		case value := <-all:
			values = append(values, value)
		case <-patience:
			panic(fmt.Sprint(len(values), " of ", count))
		}
	}
	return values
}

func same(found, wanted []string) {
	slices.Sort(found)
	slices.Sort(wanted)
	if !slices.Equal(found, wanted) {
		panic(fmt.Sprint(len(found), " values, wanted ", len(wanted), ": ", found[:min(3, len(found))]))
	}
}

func scenario(server string) {
	nothing := func() {}
	admin, err := sarama.NewClusterAdmin([]string{server}, config())
	check(err)
	check(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false))
	codecs := []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy,
		sarama.CompressionLZ4, sarama.CompressionZSTD}
	sent := []string{}
	for number, codec := range codecs {
		for _, is := range []bool{true, false} {
			values := []string{}
			for value := range 1000 {
				values = append(values, fmt.Sprint(number, is, value))
			}
			with := config()
			with.Producer.Compression = codec
			if is {
				idempotent(with)
			}
			produce(server, values, with)
			sent = append(sent, values...)
		}
	}
	oldest := func(int32) int64 { return sarama.OffsetOldest }
	same(consume(server, len(sent), oldest, nothing), sent)

	late := slices.Repeat([]string{"late"}, partitions)
	time.Sleep(50 * time.Millisecond)
	now := time.Now().UnixMilli()
	produce(server, late, config())
	client, err := sarama.NewClient([]string{server}, config())
	check(err)
	at := func(time int64) func(int32) int64 {
		return func(part int32) int64 {
			offset, err := client.GetOffset(topic, part, time)
			check(err)
			return offset
		}
	}
	for part := range int32(partitions) {
		if found, end := at(now)(part), at(sarama.OffsetNewest)(part); found != end-1 {
			panic(fmt.Sprint(found, " of ", end))
		}
	}
	same(consume(server, partitions, at(now), nothing), late)

	tail := slices.Repeat([]string{"tail"}, partitions)
	newest := func(int32) int64 { return sarama.OffsetNewest }
	same(consume(server, partitions, newest, func() { produce(server, tail, config()) }), tail)

	entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	check(err)
	if len(entries) == 0 {
		panic("a topic without settings")
	}
	check(admin.DeleteTopic(topic))
	topics, err := admin.ListTopics()
	check(err)
	if _, is := topics[topic]; is {
		panic("the topic is still there")
	}
}

type reader struct{ group string }

func (one reader) Setup(session sarama.ConsumerGroupSession) error {
	words := ""
	for _, part := range session.Claims()[one.group] {
		words += fmt.Sprint(" ", part)
	}
	fmt.Println("assigned" + words)
	return nil
}

func (reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, is := <-claim.Messages():
			if !is {
				return nil
			}
			fmt.Println("value", string(message.Value))
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func member(server, group string) {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer end()
	with := config()
	with.Consumer.Offsets.Initial = sarama.OffsetOldest
	with.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	// Commits share a connection with fetches, and wait behind them.
	with.Consumer.MaxWaitTime = 50 * time.Millisecond
	with.Consumer.Group.Session.Timeout = 6 * time.Second
	with.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	one, err := sarama.NewConsumerGroup([]string{server}, group, with)
	check(err)
	for ctx.Err() == nil {
		check(one.Consume(ctx, []string{group}, reader{group}))
	}
	check(one.Close())
}

// crash sends what stands in its input, line by line, and prints what is acked.
func crash(server, to string) {
	with := idempotent(config())
	with.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	with.Producer.Retry.Max = 300
	with.Producer.Retry.Backoff = 100 * time.Millisecond
	with.Metadata.Retry.Max = 300
	producer, err := sarama.NewAsyncProducer([]string{server}, with)
	check(err)
	done := make(chan bool)
	go func() {
		for message := range producer.Successes() {
			fmt.Println("acked", message.Metadata)
		}
		done <- true
	}()
	go func() {
		for failed := range producer.Errors() {
			fmt.Println("failed", failed.Msg.Metadata, failed.Err)
		}
		done <- true
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		value := lines.Text()
		producer.Input() <- &sarama.ProducerMessage{Topic: to, Value: sarama.StringEncoder(value), Metadata: value}
	}
	producer.AsyncClose()
	<-done
	<-done
}

func main() {
	switch os.Args[1] {
	case "member":
		member(os.Args[2], os.Args[3])
	case "crash":
		crash(os.Args[2], os.Args[3])
	default:
		scenario(os.Args[1])
	}
}
