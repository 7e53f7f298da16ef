import { createHash } from 'node:crypto'
import { keyString } from '../../core/check.js'
import type { Claim, LockKind } from '../driver.js'

/** What no name in a path may contain: the server refuses it, all beyond U+FFFF included. */
const forbidden = /[\u0000-\u001f\u007f-\u009f\ue000-\uf8ff\ufff0-\uffff\u{10000}-\u{10ffff}]/gu

/** Where the kinds other than the mutex live, below the root. */
const homes = { mutex: '', 'read-write': '/.read-write', semaphore: '/.semaphore' } as const

/** `~` and two hexadecimal digits for each byte. A tilde comes after digits and letters in the order of Curator. */
const escaped = (text: string): string =>
  Array.from(Buffer.from(text), (byte) => `~${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')

/** Names that would be taken for a place in the line of the key above. */
const likePlace = /(lock-|__READ__|__WRIT__|-permits-\d+-)(?=-?\d{9,10}$)/

/**
 * The most UTF-16 code units of a key that is its own path. A longer key may have thousands of segments, each of which
 * would be a node, and a path three times as long as itself.
 */
const longestPath = 1_024

/** `~23` would be the escape of `#`, which is never escaped: no other key has this name. */
const hashed = (key: string): string => `~23${createHash('sha256').update(key).digest('hex')}`

/**
 * The folder of a key. `order-7` is `<root>/order-7` and `a/b` is `<root>/a/b`, which is what a JVM service has in mind
 * that locks `root + '/' + key`. What ZooKeeper forbids in a path (control characters, all beyond U+FFFF, empty names,
 * `.` and `..`) is escaped, and so is what the layout needs for itself. A key of more than 1,024 UTF-16 code units is
 * `<root>/~23` and its SHA-256 in hexadecimal digits. Different keys have different folders.
 */
export function folderOf(root: string, kind: LockKind, key: string): string {
  return `${root}${homes[kind]}/${key.length > longestPath ? hashed(key) : escapedPath(key)}`
}

function escapedPath(key: string): string {
  const segments = key
    .replace(/~(?=[0-9A-F]{2})/g, escaped)
    .replace(forbidden, escaped)
    // A slash at an end, or behind another one, has an empty name beside it.
    .replace(/^\/|\/$|(?<=\/)\//g, escaped)
    .split('/')
    .map((segment, depth) => {
      if (segment === '.' || segment === '..') return escaped(segment)
      if (depth === 0) return segment.replace(/^\.(?=(read-write|semaphore)$)/, escaped)
      return segment.replace(likePlace, (found) => escaped(found.slice(0, 1)) + found.slice(1))
    })
  return segments.join('/')
}

/** The name of the node that stands for a claim, up to the ten digits that the server appends. */
export function nodePrefix({ kind, permits }: Claim, guid: string): string {
  if (kind === 'mutex') return `_c_${guid}-lock-`
  if (kind === 'semaphore') return `_c_${guid}-permits-${permits}-`
  return `_c_${guid}-${permits === 1 ? '__READ__' : '__WRIT__'}`
}

/** The folders from the first below `top` down to `folder` itself. */
export function foldersDown(top: string, folder: string): string[] {
  const names = folder.slice(top.length).split('/').slice(1)
  return names.map((_, depth) => `${top}/${names.slice(0, depth + 1).join('/')}`)
}

/** A path as ZooKeeper takes it, without a slash at its end. */
export function checkedPath(name: string, value: unknown): string {
  const path = keyString(name, value)
  const names = path.split('/')
  const wrong = names.slice(1).some((part) => part === '' || part === '.' || part === '..')
  if (names[0] !== '' || names.length < 2 || wrong || path.search(forbidden) >= 0) {
    throw new RangeError(`${name} must be a path such as /locks, got ${JSON.stringify(path)}`)
  }
  return path
}
