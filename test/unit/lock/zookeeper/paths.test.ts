import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Claim } from '../../../../src/lock/driver.js'
import { checkedPath, folderOf, foldersDown, nodePrefix } from '../../../../src/lock/zookeeper/paths.js'
import { positionOf } from '../../../../src/lock/zookeeper/position.js'
import { parseServers } from '../../../../src/lock/zookeeper/servers.js'

/** What the server's own check of a path refuses: `PathUtils.validatePath` of ZooKeeper 3.8. */
function serverTakes(path: string): boolean {
  if (!path.startsWith('/') || path.endsWith('/')) return false
  if (path.split('/').some((name, i) => (i > 0 && name === '') || name === '.' || name === '..')) return false
  return !/[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff]/.test(path)
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

describe('folderOf', () => {
  it.each([
    ['order-7', '/locks/order-7'],
    ['a/b', '/locks/a/b'],
    ['a b:c*', '/locks/a b:c*'],
    ['ключ 日本', '/locks/ключ 日本'],
    ['100%', '/locks/100%'],
    ['~', '/locks/~'],
    ['~/.config', '/locks/~/.config'],
    ['~41', '/locks/~7E41'],
    ['~4g', '/locks/~4g'],
    ['/a', '/locks/~2Fa'],
    ['a/', '/locks/a~2F'],
    ['a//b', '/locks/a/~2Fb'],
    ['//', '/locks/~2F~2F'],
    ['.', '/locks/~2E'],
    ['a/..', '/locks/a/~2E~2E'],
    ['...', '/locks/...'],
    ['a\u0000b\n', '/locks/a~00b~0A'],
    ['\u0085', '/locks/~C2~85'],
    ['\ue000', '/locks/~EE~80~80'],
    ['😀', '/locks/~F0~9F~98~80'],
    ['.read-write', '/locks/~2Eread-write'],
    ['.semaphore/a', '/locks/~2Esemaphore/a'],
    ['a/.semaphore', '/locks/a/.semaphore'],
    ['.read-writes', '/locks/.read-writes'],
    ['lock-0000000001', '/locks/lock-0000000001'],
    ['a/lock-0000000001', '/locks/a/~6Cock-0000000001'],
    ['a/block-0000000001', '/locks/a/b~6Cock-0000000001'],
    ['a/lock-1', '/locks/a/lock-1'],
    ['a/x__READ__0000000001', '/locks/a/x~5F_READ__0000000001'],
    ['a/-permits-3-0000000001', '/locks/a/~2Dpermits-3-0000000001'],
  ])('puts the mutex %j into %s', (key, folder) => {
    expect(folderOf('/locks', 'mutex', key)).toBe(folder)
  })

  it.each([
    ['x'.repeat(1_024), `/locks/${'x'.repeat(1_024)}`],
    ['x'.repeat(1_025), `/locks/~23${sha256('x'.repeat(1_025))}`],
    ['a/'.repeat(4_096), `/locks/~23${sha256('a/'.repeat(4_096))}`],
    ['\u0000'.repeat(8_192), `/locks/~23${sha256('\u0000'.repeat(8_192))}`],
    ['😀'.repeat(2_048), `/locks/~23${sha256('😀'.repeat(2_048))}`],
    [`~23${sha256('x')}`, `/locks/~7E23${sha256('x')}`],
    [`#${sha256('x')}`, `/locks/#${sha256('x')}`],
  ])('puts a long key, and what looks like one, where no other key is: %#', (key, folder) => {
    expect(folderOf('/locks', 'mutex', key)).toBe(folder)
  })

  it('keeps the kinds apart', () => {
    expect(folderOf('/locks', 'read-write', 'a/b')).toBe('/locks/.read-write/a/b')
    expect(folderOf('/locks', 'semaphore', 'a/b')).toBe('/locks/.semaphore/a/b')
  })

  const key = fc
    .oneof(
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.string({ unit: fc.constantFrom('/', '.', '~', '2', 'F', 'E', 'a', '\u0001', '😀'), minLength: 1 }),
      fc
        .array(
          fc.constantFrom('/', '.semaphore', '.read-write', 'lock-', '__WRIT__', '-permits-2-', '0000000001', '~2E'),
        )
        .map((parts) => parts.join(''))
        .filter((text) => text !== ''),
      // Longer than what is a path of its own, in a few spellings each.
      fc
        .tuple(fc.constantFrom('x', 'a/', '😀', '~', '\u0000'), fc.integer({ min: 1_000, max: 1_030 }))
        .map(([unit, times]) => unit.repeat(times)),
      // Where such a key lies, and what is close to that.
      fc
        .tuple(fc.constantFrom('~23', '#', '~7E23', '~', '.sha256/'), fc.constantFrom('x', 'a/', '😀'))
        .map(([sign, unit]) => sign + sha256(unit.repeat(1_030))),
    )
    .filter((text) => (text as unknown as { isWellFormed(): boolean }).isWellFormed())
  const kind = fc.constantFrom('mutex', 'read-write', 'semaphore')

  it('gives every key a path that the server takes, and no two the same', () => {
    fc.assert(
      fc.property(kind, key, kind, key, (oneKind, one, otherKind, other) => {
        const folders = [folderOf('/locks', oneKind, one), folderOf('/locks', otherKind, other)]
        for (const folder of folders) expect(serverTakes(folder), JSON.stringify(folder)).toBe(true)
        expect(folders[0] === folders[1]).toBe(oneKind === otherKind && one === other)
      }),
      { numRuns: 3_000 },
    )
  })

  it('never puts a folder where it would be taken for a place in line', () => {
    fc.assert(
      fc.property(kind, key, (kind, text) => {
        const name = folderOf('', kind, `a/${text}`).split('/').at(-1) as string
        for (const each of ['mutex', 'read-write', 'semaphore'] as const) {
          expect(positionOf({ kind: each, permits: 1, of: 1 }, [name], name)).toBeUndefined()
        }
      }),
      { numRuns: 3_000 },
    )
  })
})

describe('nodePrefix', () => {
  const claim = (more: Partial<Claim>): Claim => ({
    ...{ kind: 'mutex', key: 'k', front: 'f', number: 1, permits: 1, of: 1, ttlMs: 1, tokens: 1, waits: true },
    ...more,
  })
  it.each([
    [claim({}), '_c_guid-lock-'],
    [claim({ kind: 'read-write', of: 2 ** 31 }), '_c_guid-__READ__'],
    [claim({ kind: 'read-write', permits: 2 ** 31, of: 2 ** 31 }), '_c_guid-__WRIT__'],
    [claim({ kind: 'semaphore', permits: 3, of: 4 }), '_c_guid-permits-3-'],
  ])('%#', (claim, prefix) => {
    expect(nodePrefix(claim, 'guid')).toBe(prefix)
    const name = `${prefix}0000000007`
    expect(positionOf(claim, [name], name)).toEqual({ granted: true })
  })
})

describe('foldersDown', () => {
  it.each([
    ['', '/a/b/c', ['/a', '/a/b', '/a/b/c']],
    ['/a', '/a/b/c', ['/a/b', '/a/b/c']],
    ['/a/b', '/a/b', []],
  ])('from %j to %j', (top, folder, folders) => {
    expect(foldersDown(top, folder)).toEqual(folders)
  })
})

describe('checkedPath', () => {
  it.each(['/locks', '/a/b', '/.locks', '/ä'])('takes %j', (path) => {
    expect(checkedPath('path', path)).toBe(path)
  })
  it.each([
    '',
    '/',
    'locks',
    '/a/',
    '//a',
    '/a//b',
    '/.',
    '/a/..',
    '/a\u0001',
    '/\ue000',
    '/😀',
    '/\ud800',
    `/${'x'.repeat(8_192)}`,
  ])('refuses %j', (path) => {
    expect(() => checkedPath('path', path)).toThrow(RangeError)
  })
  it.each([undefined, null, 7])('refuses %j', (path) => {
    expect(() => checkedPath('path', path)).toThrow(TypeError)
  })
})

describe('parseServers', () => {
  it.each([
    ['h1', [['h1', 2181]], ''],
    ['h1:2182', [['h1', 2182]], ''],
    [
      'h1:1, h2:2,10.0.0.3',
      [
        ['h1', 1],
        ['h2', 2],
        ['10.0.0.3', 2181],
      ],
      '',
    ],
    ['[::1]:2182', [['::1', 2182]], ''],
    ['[fe80::1%eth0]', [['fe80::1%eth0', 2181]], ''],
    [
      'h1:1,h2:2/',
      [
        ['h1', 1],
        ['h2', 2],
      ],
      '',
    ],
    ['h1/apps/x', [['h1', 2181]], '/apps/x'],
  ])('reads %j', (text, servers, chroot) => {
    expect(parseServers(text)).toEqual({ servers: servers.map(([host, port]) => ({ host, port })), chroot })
  })
  it.each(['', ',', 'h1,', 'h1:', 'h1:x', 'h1:0', 'h1:65536', '::1', 'h1 h2', 'h1/a/', 'h1//a'])(
    'refuses %j',
    (text) => {
      expect(() => parseServers(text)).toThrow(RangeError)
    },
  )
  it.each([undefined, null, 7, ['h1']])('refuses %j', (text) => {
    expect(() => parseServers(text)).toThrow(TypeError)
  })
})
