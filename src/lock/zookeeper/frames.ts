/** A frame begins with the length of what follows it. */
const headerBytes = 4

/**
 * Cuts what a connection brings into frames and calls `take` with each, its length included. Copies each byte once at
 * most, whatever the chunks are.
 *
 * @throws RangeError, from the function it returns, for a negative length.
 */
export function createFrames(take: (frame: Buffer) => void): (chunk: Buffer) => void {
  /** The frame that has begun: it is complete with `wanted` bytes. */
  let begun: Buffer[] = []
  let bytes = 0
  let wanted = headerBytes

  function lengthAt(buffer: Buffer, start: number): number {
    if (buffer.length - start < headerBytes) return headerBytes
    const length = buffer.readInt32BE(start)
    if (length < 0) throw new RangeError(`the length of a frame is ${length}`)
    return headerBytes + length
  }

  return (chunk) => {
    begun.push(chunk)
    bytes += chunk.length
    if (bytes < wanted) return
    const buffer = begun.length === 1 ? chunk : Buffer.concat(begun, bytes)
    let start = 0
    // Without a header, `wanted` is more than there is.
    while (buffer.length - start >= (wanted = lengthAt(buffer, start))) {
      take(buffer.subarray(start, start + wanted))
      start += wanted
    }
    bytes = buffer.length - start
    begun = bytes > 0 ? [buffer.subarray(start)] : []
  }
}
