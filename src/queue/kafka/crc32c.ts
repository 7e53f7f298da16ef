/** By the reversed polynomial of Castagnoli: RFC 3720, appendix B.4. */
const table = Int32Array.from({ length: 256 }, (_, index) => {
  let crc = index
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc
})

/** The checksum of the bytes from `start` on. */
export function crc32c(bytes: Uint8Array, start = 0): number {
  let crc = -1
  for (let i = start; i < bytes.length; i++) {
    crc = (table[(crc ^ (bytes[i] as number)) & 255] as number) ^ (crc >>> 8)
  }
  return ~crc >>> 0
}
