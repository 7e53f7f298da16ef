export { memoryInbox, type MemoryInboxOptions } from './inbox.js'
export { memoryQueue, type MemoryQueueOptions } from './queue.js'
