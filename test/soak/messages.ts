/** How long a worker that was told to stop may take until it has closed everything. */
export const closeMs = 60_000

/** Where a worker finds its servers, and the names that all workers share. */
export interface WorkerSetting {
  readonly name: string
  readonly redisPort: number
  /** Straight to the server: for what the checks themselves keep. */
  readonly checkPort: number
  readonly zookeeper: string
  readonly brokers: readonly string[]
  readonly topic: string
  readonly databaseUrl: string
  readonly seed: number
  /** It only handles the messages that are there, and tells how many are left. */
  readonly drains: boolean
}

/** What a part of a worker (a load, or the database) does. */
export type WorkerStep = 'starting' | 'running' | 'closing' | 'closed'

/** A message of a worker while it runs. */
export type WorkerMessage =
  | { readonly kind: 'step'; readonly part: string; readonly step: WorkerStep }
  | {
      readonly kind: 'sample'
      readonly heapMb: number
      readonly rssMb: number
      readonly calls: number
      readonly failures: number
    }
  | { readonly kind: 'published'; readonly ids: readonly string[] }
  | { readonly kind: 'left'; readonly messages: number }
  | { readonly kind: 'granted'; readonly tokens: number }
  | { readonly kind: 'complaint'; readonly text: string }
