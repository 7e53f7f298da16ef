import calculateSlot from 'cluster-key-slot'
import { tagSafe } from '../../core/redis-client.js'
import { fnv1a } from '../id-filter.js'

/** Each shard of a SKU has a letter, `A` to `P`. */
export const mostShards = 16

const slots = 16_384

/**
 * How the names of a shard's keys begin. The first shard has those of a SKU without shards, so that one opened with another
 * number is found. The others lie as far from it and from each other in the slots of a Cluster as they can.
 */
export function shardName(prefix: string, sku: string, shard: number, shards: number): string {
  const tag = tagSafe(sku)
  if (shard === 0) return `${prefix}{${tag}}`
  const partOf = (name: string): number => Math.floor((calculateSlot(name) * shards) / slots)
  const part = (partOf(tag) + shard) % shards
  let n = 0
  while (partOf(`${tag}#${n}`) !== part) n++
  return `${prefix}{${tag}#${n}}:${shard}/${shards}`
}

/**
 * The shard where the order with that id, or the buyer, is at home. Orders are found by it, so it never changes.
 */
export function homeOf(id: string, shards: number): number {
  const hash = fnv1a(id, 0)
  // The low bits of ids that differ in their last digits differ too little.
  return ((hash ^ (hash >>> 15)) >>> 0) % shards
}
