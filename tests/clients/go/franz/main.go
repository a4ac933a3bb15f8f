// franz-go: create, produce with every codec, idempotent and not, consume from the beginning, by time, at the tail, admin
// calls.
//
//	franz SERVER SCRATCH         the scenario
//	franz member SERVER GROUP    a member of a group, as group.py runs it
//	franz crash SERVER TOPIC     produces through the death of a broker, as crash.py runs it
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic      = "franz"
	partitions = 4
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func client(server string, options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append(options, kgo.SeedBrokers(server))...)
	check(err)
	return made
}

func produce(server string, values []string, options ...kgo.Opt) {
	options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	producer := client(server, options...)
	defer producer.Close()
	records := []*kgo.Record{}
	for number, value := range values {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(number % partitions), Value: []byte(value)})
	}
	check(producer.ProduceSync(context.Background(), records...).FirstErr())
}

func consume(consumer *kgo.Client, count int) []string {
	patience, end := context.WithTimeout(context.Background(), 20*time.Second)
	defer end()
	values := []string{}
	for len(values) < count {
		fetches := consumer.PollFetches(patience)
		for _, failed := range fetches.Errors() {
			panic(fmt.Sprint(len(values), " of ", count, ": ", failed.Err))
		}
		fetches.EachRecord(func(record *kgo.Record) { values = append(values, string(record.Value)) })
	}
	return values
}

func reader(server string, at kgo.Offset) *kgo.Client {
	from := map[int32]kgo.Offset{}
	for number := range int32(partitions) {
		from[number] = at
	}
	return client(server, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
}

func same(found, wanted []string) {
	slices.Sort(found)
	slices.Sort(wanted)
	if !slices.Equal(found, wanted) {
		panic(fmt.Sprint(len(found), " values, wanted ", len(wanted), ": ", found[:min(3, len(found))]))
	}
}

func times(value string, count int) []string {
	return slices.Repeat([]string{value}, count)
}

func scenario(server string) {
	ctx := context.Background()
	admin := kadm.NewClient(client(server))
	defer admin.Close()
	made, err := admin.CreateTopics(ctx, partitions, 1, nil, topic)
	check(err)
	check(made.Error())
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	}
	sent := []string{}
	for number, codec := range codecs {
		for _, idempotent := range []bool{true, false} {
			values := []string{}
			for value := range 1000 {
				values = append(values, fmt.Sprint(number, idempotent, value))
			}
			options := []kgo.Opt{kgo.ProducerBatchCompression(codec)}
			if !idempotent {
				options = append(options, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
			}
			produce(server, values, options...)
			sent = append(sent, values...)
		}
	}
	first := reader(server, kgo.NewOffset().AtStart())
	same(consume(first, len(sent)), sent)
	first.Close()

	time.Sleep(50 * time.Millisecond)
	now := time.Now().UnixMilli()
	produce(server, times("late", partitions))
	listed, err := admin.ListOffsetsAfterMilli(ctx, now, topic)
	check(err)
	ends, err := admin.ListEndOffsets(ctx, topic)
	check(err)
	listed.Each(func(found kadm.ListedOffset) {
		end, _ := ends.Lookup(topic, found.Partition)
		if found.Err != nil || found.Offset != end.Offset-1 {
			panic(fmt.Sprint(found, end))
		}
	})
	byTime := reader(server, kgo.NewOffset().AfterMilli(now))
	same(consume(byTime, partitions), times("late", partitions))
	byTime.Close()

	tail := reader(server, kgo.NewOffset().AtEnd())
	moment, end := context.WithTimeout(ctx, 300*time.Millisecond)
	if early := tail.PollFetches(moment).NumRecords(); early != 0 {
		panic(early)
	}
	end()
	produce(server, times("tail", partitions))
	same(consume(tail, partitions), times("tail", partitions))
	tail.Close()

	described, err := admin.DescribeTopicConfigs(ctx, topic)
	check(err)
	if len(described) != 1 || described[0].Err != nil || len(described[0].Configs) == 0 {
		panic(fmt.Sprint(described))
	}
	gone, err := admin.DeleteTopics(ctx, topic)
	check(err)
	check(gone.Error())
	topics, err := admin.ListTopics(ctx)
	check(err)
	if topics.Has(topic) {
		panic("the topic is still there")
	}
}

// member prints what it is assigned and what it reads, and commits that.
func member(server, group string) {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer end()
	var lock sync.Mutex
	mine := map[int32]bool{}
	tell := func(is bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			lock.Lock()
			defer lock.Unlock()
			for _, part := range changed[group] {
				delete(mine, part)
				if is {
					mine[part] = true
				}
			}
			words := ""
			for part := range mine {
				words += fmt.Sprint(" ", part)
			}
			fmt.Println("assigned" + words)
		}
	}
	one := client(server, kgo.ConsumerGroup(group), kgo.ConsumeTopics(group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.OnPartitionsAssigned(tell(true)), kgo.OnPartitionsRevoked(tell(false)), kgo.OnPartitionsLost(tell(false)))
	for ctx.Err() == nil {
		fetches := one.PollFetches(ctx)
		fetches.EachRecord(func(record *kgo.Record) { fmt.Println("value", string(record.Value)) })
		// What was read before a rebalance may be too late to be committed: it is read again.
		_ = one.CommitUncommittedOffsets(context.Background())
	}
	one.Close()
}

// crash sends what stands in its input, line by line, and prints what is acked.
func crash(server, to string) {
	producer := client(server, kgo.DefaultProduceTopic(to), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.RecordDeliveryTimeout(60*time.Second), kgo.ProducerLinger(2*time.Millisecond))
	lines := bufio.NewScanner(os.Stdin)
	var lock sync.Mutex
	for lines.Scan() {
		value := lines.Text()
		producer.Produce(context.Background(), kgo.StringRecord(value), func(_ *kgo.Record, err error) {
			lock.Lock()
			defer lock.Unlock()
			if err == nil {
				fmt.Println("acked", value)
			} else {
				fmt.Println("failed", value, err)
			}
		})
	}
	check(producer.Flush(context.Background()))
	producer.Close()
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
