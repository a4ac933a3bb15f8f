// kafkajs: create, produce with every codec it has by itself, offsets from the beginning, by time and at the tail;
// settings changed, a topic cut and widened.
const assert = require('node:assert')
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs')

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
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const configEntries = [{ name: 'max.message.bytes', value: '500' }]
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries }] })
  const described = await admin.describeConfigs({ includeSynonyms: true, resources: [resource] })
  const setting = described.resources[0].configEntries.find(one => one.configName === 'max.message.bytes')
  assert.equal(setting.configValue, '500')
  const large = kafka.producer({ retry: { retries: 0 } })
  await large.connect()
  await assert.rejects(large.send({ topic, messages: [{ value: 'x'.repeat(1000), partition: 0 }] }), /MESSAGE_TOO_LARGE|larger/)
  await large.disconnect()
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '70' }] })
  assert.equal((await admin.fetchTopicOffsets(topic)).find(one => one.partition === 0).low, '70')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.equal(metadata.topics[0].partitions.length, 3)
  await admin.deleteTopics({ topics: [topic] })
  assert(!(await admin.listTopics()).includes(topic))
  await admin.disconnect()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
