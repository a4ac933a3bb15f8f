// kafkajs: create, produce with every codec it has by itself, offsets from the beginning, by time and at the tail.
const assert = require('node:assert')
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const [, , server] = process.argv
const topic = 'kafkajs'

async function main() {
  const kafka = new Kafka({ clientId: topic, brokers: [server], logLevel: logLevel.ERROR })
  const admin = kafka.admin()
  await admin.connect()
  assert(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }] }))
  const offsets = async () => (await admin.fetchTopicOffsets(topic)).map(one => one.high)
  let sent = 0
  for (const idempotent of [false, true]) {
    const producer = kafka.producer({ idempotent, maxInFlightRequests: 1 })
    await producer.connect()
    for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
      const messages = [...Array(100).keys()].map(number => ({ value: `${number}`, partition: number % 2 }))
      const answers = await producer.send({ topic, compression, messages })
      answers.forEach(answer => assert.equal(answer.baseOffset, `${sent}`))
      sent += 50
    }
    await producer.disconnect()
  }
  assert.deepEqual(await offsets(), [`${sent}`, `${sent}`])
  await new Promise(resolve => setTimeout(resolve, 50))
  const now = Date.now()
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic, messages: [{ value: 'late', partition: 0 }] })
  const byTime = await admin.fetchTopicOffsetsByTimestamp(topic, now)
  assert.equal(byTime.find(one => one.partition === 0).offset, `${sent}`)
  await producer.disconnect()
  await admin.deleteTopics({ topics: [topic] })
  assert(!(await admin.listTopics()).includes(topic))
  await admin.disconnect()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
