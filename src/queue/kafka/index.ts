export type { KafkaClient } from './client.js'
export type { Compression } from './compression.js'
export { kafkaQueue, type KafkaQueueOptions } from './queue.js'
