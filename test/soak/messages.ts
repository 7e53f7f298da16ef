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
}

/** A message of a worker while it runs. */
export type WorkerMessage =
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'sample'
      readonly heapMb: number
      readonly rssMb: number
      readonly calls: number
      readonly failures: number
    }
  | { readonly kind: 'published'; readonly count: number }
  | { readonly kind: 'granted'; readonly tokens: number }
  | { readonly kind: 'complaint'; readonly text: string }
