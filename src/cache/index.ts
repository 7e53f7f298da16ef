export { createCache } from './cache.js'
export type {
  Born,
  CacheTier,
  FoundEntry,
  KeyChange,
  LocalStore,
  Marking,
  Marks,
  MemoryTier,
  SharedStore,
  StoredEntry,
  TierChanges,
  TierFound,
  TierListener,
  TierListening,
  TierRead,
  TierReads,
  Turn,
  TurnEnd,
  TurnTerms,
} from './driver.js'
export { memoryTier, type MemoryTierOptions } from './memory/tier.js'
export type { Cache, CacheOptions, CacheStats, GetOptions, LoadContext, SetOptions } from './types.js'
export { memoryWriteBehind, type MemoryWriteBehindOptions } from './memory/write-behind.js'
export { startWriteBehind, type WriteBehind, type WriteBehindOptions } from './write-behind.js'
export type {
  Claim,
  ClaimRequest,
  Claimed,
  Settlement,
  Touch,
  Touched,
  WriteBehindDriver,
  WriteBehindStore,
} from './write-behind-driver.js'
