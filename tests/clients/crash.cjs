// What crash.py runs as its client: sends each line of the input by an idempotent producer, and prints `acked VALUE` or
// `failed VALUE REASON`.
//
// crash.cjs kafkajs|platformatic SERVER TOPIC
const readline = require('node:readline')

const [, , client, server, topic] = process.argv
const PARTITIONS = 4

// Each returns how a list of messages, of one partition each, is sent, and how it ends.
const clients = {
  async kafkajs () {
    const { Kafka, logLevel } = require('kafkajs')
    const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 200 }
    const kafka = new Kafka({ clientId: topic, brokers: [server], logLevel: logLevel.NOTHING, retry })
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, retry })
    await producer.connect()
    return { send: messages => producer.send({ topic, messages }), end: () => producer.disconnect() }
  },
  async platformatic () {
    const { Producer, ProduceAcks, stringSerializers } = require('@platformatic/kafka')
    const producer = new Producer({
      clientId: topic,
      bootstrapBrokers: [server],
      serializers: stringSerializers,
      idempotent: true,
      acks: ProduceAcks.ALL,
      retries: 200,
      retryDelay: 100
    })
    return {
      send: messages => producer.send({ messages: messages.map(message => ({ topic, ...message })) }),
      end: () => producer.close()
    }
  }
}

async function main () {
  const { send, end } = await clients[client]()
  const waiting = []
  let ended = false
  let wake = () => {}
  const lines = readline.createInterface({ input: process.stdin })
  lines.on('line', line => {
    waiting.push(line.trim())
    wake()
  })
  lines.on('close', () => {
    ended = true
    wake()
  })
  while (!ended || waiting.length > 0) {
    if (waiting.length === 0) {
      await new Promise(resolve => { wake = resolve })
      continue
    }
    const values = waiting.splice(0, 100)
    try {
      await send(values.map(value => ({ value, partition: Number(value) % PARTITIONS })))
      values.forEach(value => console.log(`acked ${value}`))
    } catch (error) {
      values.forEach(value => console.log(`failed ${value} ${String(error.message).split('\n')[0]}`))
    }
  }
  await end()
}

main().then(() => process.exit(0), error => {
  console.error(error)
  process.exit(1)
})
