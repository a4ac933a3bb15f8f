// A member of a group, for group.py: prints what it is assigned and reads, and leaves when it is asked to.
const { Kafka, logLevel } = require('kafkajs');

const [server, topic] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [server], logLevel: logLevel.ERROR });
const consumer = kafka.consumer({ groupId: topic, sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 6000 });
consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
  console.log('assigned', ...(payload.memberAssignment[topic] || []));
});
process.on('SIGTERM', async () => {
  await consumer.disconnect();
  process.exit(0);
});
(async () => {
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ message }) => console.log('value', message.value.toString()),
  });
})();
