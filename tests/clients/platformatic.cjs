// @platformatic/kafka: create, produce with every codec that this version of Node.js has, offsets.
const assert = require('node:assert')
const { Admin, Consumer, Producer, stringSerializers } = require('@platformatic/kafka')

const [, , server] = process.argv
const topic = 'platformatic'
const bootstrapBrokers = [server]

async function main() {
  const admin = new Admin({ clientId: topic, bootstrapBrokers })
  await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 })
  const codecs = ['none', 'gzip', 'snappy', 'lz4']
  if (require('node:zlib').zstdCompressSync) codecs.push('zstd')
  for (const idempotent of [false, true]) {
    const producer = new Producer({ clientId: topic, bootstrapBrokers, serializers: stringSerializers, idempotent })
    for (const compression of codecs) {
      const messages = [...Array(100).keys()].map(number => ({ topic, value: `v${number}`, partition: number % 2 }))
      await producer.send({ compression, messages })
    }
    await producer.close()
  }
  const consumer = new Consumer({ clientId: topic, groupId: topic, bootstrapBrokers })
  const ends = await consumer.listOffsets({ topics: [topic] })
  const wanted = BigInt(codecs.length * 100)
  assert.deepEqual(ends.get(topic), [wanted, wanted])
  await consumer.close()
  await admin.deleteTopics({ topics: [topic] })
  await admin.close()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
