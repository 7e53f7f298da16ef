import { createHash } from 'node:crypto'

const digestPrefix = 'sha256:'
const printable = /^[\x21-\x7e]+$/

/**
 * An id as an inbox keeps it: printable ASCII of up to `longest` characters as it is, anything else by its digest. So
 * neither a connection's character set nor a collation that ignores case or trailing blanks can make two ids one, and an
 * id of any length takes little.
 */
export function storedId(id: string, longest: number): string {
  if (id.length <= longest && printable.test(id) && !id.startsWith(digestPrefix)) return id
  return digestPrefix + createHash('sha256').update(id, 'utf16le').digest('base64url')
}
