export { startConsumer, type Consumer } from './consumer.js'
export type {
  Delivery,
  HeaderValue,
  JoinRequest,
  OutgoingRecord,
  QueueDriver,
  QueueMember,
  QueueProducer,
  QueueRecord,
  RecordHeaders,
} from './driver.js'
export type { Inbox, TransactionalInbox } from './inbox.js'
export { memoryInbox, memoryQueue, type MemoryInboxOptions, type MemoryQueueOptions } from './memory/index.js'
export type { Message, OutgoingMessage } from './message.js'
export type { ConsumerHandler, ConsumerOptions, ConsumerSettings, HandlerContext } from './options.js'
export { startPublisher, type Publisher, type PublisherOptions, type PublishOptions } from './publisher.js'
