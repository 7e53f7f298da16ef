// What spillway needs of kafkajs, so that its types are not part of ours.

type Bytes = Buffer | string | (Buffer | string)[]

export interface KafkaMessage {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly timestamp: string
  readonly offset: string
  /** `null`, which the types of kafkajs leave out, is a header without a value. */
  readonly headers?: Record<string, Bytes | undefined> | undefined
}

export interface SentMessage {
  key: Buffer | null
  value: Buffer | null
  headers: Record<string, Bytes>
}

export interface KafkaProducer {
  connect(): Promise<void>
  disconnect(): Promise<void>
  send(record: { topic: string; acks: number; compression: number; messages: SentMessage[] }): Promise<unknown>
}

export interface KafkaPositions {
  readonly topics: { topic: string; partitions: { partition: number; offset: string }[] }[]
}

export interface KafkaBatch {
  readonly batch: { readonly partition: number; readonly messages: KafkaMessage[]; lastOffset(): string }
  readonly resolveOffset: (offset: string) => void
  readonly commitOffsetsIfNecessary: (offsets: KafkaPositions) => Promise<void>
}

export interface KafkaConsumer {
  connect(): Promise<void>
  disconnect(): Promise<void>
  subscribe(subscription: { topics: string[]; fromBeginning: boolean }): Promise<void>
  run(config: {
    autoCommit: boolean
    eachBatchAutoResolve: boolean
    eachBatch: (payload: KafkaBatch) => Promise<void>
  }): Promise<void>
  commitOffsets(positions: { topic: string; partition: number; offset: string }[]): Promise<void>
  seek(position: { topic: string; partition: number; offset: string }): void
  pause(topics: { topic: string; partitions?: number[] | undefined }[]): void
  resume(topics: { topic: string; partitions?: number[] | undefined }[]): void
  on(event: 'consumer.group_join', listener: (event: { payload: GroupJoined }) => void): unknown
  on(event: 'consumer.end_batch_process', listener: (event: { payload: BatchEnded }) => void): unknown
  on(event: 'consumer.crash', listener: (event: { payload: { error: Error } }) => void): unknown
}

export interface GroupJoined {
  readonly memberAssignment: Record<string, number[]>
}

export interface BatchEnded {
  readonly topic: string
  readonly partition: number
  readonly batchSize: number
  readonly lastOffset: string
}

export interface KafkaAdmin {
  connect(): Promise<void>
  disconnect(): Promise<void>
  fetchTopicOffsets(topic: string): Promise<{ partition: number; high: string; low: string }[]>
  fetchOffsets(options: {
    groupId: string
    topics: string[]
  }): Promise<{ topic: string; partitions: { partition: number; offset: string }[] }[]>
}

/** A `Kafka` of kafkajs 2. The settings of its connections stay the caller's. */
export interface KafkaClient {
  // The configurations are kafkajs' own; what is passed is checked against kafkajs in the type tests.
  producer(config: object): KafkaProducer
  consumer(config: { groupId: string }): KafkaConsumer
  admin(config?: object): KafkaAdmin
}
