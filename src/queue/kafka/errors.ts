/** Answers of a broker, and faults of the client, that trying the same again does not cure. */
const permanent = new Set([
  'KafkaJSNotImplemented',
  'KafkaJSSASLAuthenticationError',
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_GROUP_ID',
  'INVALID_SESSION_TIMEOUT',
  'POLICY_VIOLATION',
  'UNSUPPORTED_COMPRESSION_TYPE',
  'UNSUPPORTED_VERSION',
  'SASL_AUTHENTICATION_FAILED',
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
])

/** Of these, those that are the fault of the records: others may be taken. */
const ofRecords = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD', 'INVALID_TIMESTAMP'])

/** Not permanent, since a broker may take a moment to know of a topic that was just made. */
const unknownTopic = new Set(['UNKNOWN_TOPIC_OR_PARTITION'])

const thereIsNo = (topic: string): string =>
  `there is no topic ${JSON.stringify(topic)}: create it, for the broker does not (auto.create.topics.enable)`

/** A commit that a new sharing out of the group has overtaken. */
const overtaken = new Set(['REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID'])

interface Described {
  readonly name?: unknown
  readonly type?: unknown
  readonly cause?: unknown
}

function isAny(error: unknown, names: ReadonlySet<unknown>, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > 8) return false
  const { name, type, cause } = error as Described
  return names.has(name) || names.has(type) || isAny(cause, names, depth + 1)
}

export const isOvertaken = (error: unknown): boolean => isAny(error, overtaken)

/**
 * The error with what the front asks of it: whether it pays to try again, or to try other records. kafkajs' own mark means
 * something else.
 */
export function translated(what: string, error: unknown, topic?: string): Error {
  const isUnknown = topic !== undefined && isAny(error, unknownTopic)
  const message = isUnknown ? thereIsNo(topic) : error instanceof Error ? error.message : String(error)
  const isPermanent = isAny(error, permanent)
  return Object.assign(new Error(`kafka: ${what}: ${message}`, { cause: error }), {
    retriable: !isPermanent,
    refusesAll: isPermanent && !isAny(error, ofRecords),
  })
}
