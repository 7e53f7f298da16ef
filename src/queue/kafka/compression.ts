import kafkajs from 'kafkajs'
import { shown } from '../../core/check.js'

/** How a publisher's batches travel. kafkajs brings gzip; for the others register a codec in its `CompressionCodecs`. */
export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

export interface CompressionCodec {
  compress(of: { readonly buffer: Buffer }): Promise<Buffer>
}

const types: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }

/** The number by which Kafka knows it. Throws when kafkajs has no codec for it: it would fail at the first message. */
export function compressionType(name: Compression): number {
  const type = Object.hasOwn(types, name) ? types[name] : undefined
  if (type === undefined) {
    const wrong = `compression must be one of ${Object.keys(types).join(', ')}, got ${shown(name)}`
    throw typeof name === 'string' ? new RangeError(wrong) : new TypeError(wrong)
  }
  if (type === 0) return type
  try {
    codecOf(type)
  } catch (error) {
    throw new TypeError(`compression ${name} needs a codec in kafkajs' CompressionCodecs`, { cause: error })
  }
  return type
}

/** Throws when kafkajs has none for this type. */
export const codecOf = (type: number): CompressionCodec =>
  (kafkajs.CompressionCodecs as unknown as Record<number, () => CompressionCodec>)[type]?.() as CompressionCodec
