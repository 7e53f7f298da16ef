import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { positionOf } from '../../../../src/lock/zookeeper/position.js'

const granted = { granted: true }
const behind = (name: string | undefined, suspects = name === undefined ? [] : [name]) => ({
  granted: false,
  behind: name,
  suspects,
})

describe('a mutex', () => {
  const mutex = { kind: 'mutex', permits: 1, of: 1 } as const
  const [a, b, c] = ['_c_x-lock-0000000003', '_c_b-lock-0000000010', '_c_a-lock-0000000011'] as const
  it.each([
    ['is held by who is alone', [b], b, granted],
    ['is held by the first, whatever the order of the list', [c, b, a], a, granted],
    ['lets the next watch the one before it', [c, b, a], b, behind(a)],
    ['lets each watch one node only', [c, b, a], c, behind(b)],
    ['knows nodes by any prefix, as Curator does', ['zzz-lock-0000000000', a], a, behind('zzz-lock-0000000000')],
    ['takes no folder for a place', ['00000', '!!!', 'lock-', 'lock-1', 'x-lock-00000000001', 'aaa', a], a, granted],
    ['takes no other kind for a place', ['_c_x-__WRIT__0000000000', '_c_x-permits-1-0000000001', a], a, granted],
    ['tells who is not there', [a, b], c, undefined],
    ['tells that nobody is there', [], a, undefined],
    [
      'keeps its order when the counter of the folder goes round',
      ['x-lock--2147483647', 'x-lock-2147483647', 'x-lock--2147483648'],
      'x-lock--2147483648',
      behind('x-lock-2147483647'),
    ],
    [
      'suspects the one before it, and those before that whose names are strange',
      [a, b, 'lock-0000000001', 'x-lock-0000000002', c],
      c,
      behind(b, ['lock-0000000001', 'x-lock-0000000002', b]),
    ],
  ])('%s', (_, children, own, position) => {
    expect(positionOf(mutex, children, own)).toEqual(position)
  })
})

describe('a read-write lock', () => {
  const reads = (n: number): string => `_c_r${n}-__READ__000000000${n}`
  const writes = (n: number): string => `_c_w${n}-__WRIT__000000000${n}`
  const reader = { kind: 'read-write', permits: 1, of: 2 ** 31 } as const
  const writer = { ...reader, permits: 2 ** 31 }
  it.each([
    ['lets the first reader in', reader, [reads(1)], reads(1), granted],
    ['lets readers in together', reader, [reads(3), reads(1), reads(2)], reads(3), granted],
    [
      'lets a reader wait for the writers before it',
      reader,
      [reads(4), writes(1), writes(3), reads(2)],
      reads(4),
      behind(writes(3)),
    ],
    ['lets a reader pass who came before the writer', reader, [writes(2), reads(1)], reads(1), granted],
    ['lets the first writer in', writer, [writes(1), reads(2), writes(3)], writes(1), granted],
    [
      'lets a writer wait for the reader before it',
      writer,
      [writes(3), reads(1), reads(2)],
      writes(3),
      behind(reads(2)),
    ],
    ['lets a writer wait for the writer before it', writer, [writes(2), writes(1)], writes(2), behind(writes(1))],
    [
      'does not suspect a strange reader before a reader',
      reader,
      ['x__READ__0000000000', writes(1), reads(2)],
      reads(2),
      behind(writes(1)),
    ],
    ['takes no mutex for a place', writer, ['_c_x-lock-0000000000', writes(1)], writes(1), granted],
    ['tells who is not there', writer, [reads(1)], writes(2), undefined],
  ])('%s', (_, claim, children, own, position) => {
    expect(positionOf(claim, children, own)).toEqual(position)
  })
})

describe('a semaphore', () => {
  const node = (n: number, permits: number): string => `_c_s${n}-permits-${permits}-000000000${n}`
  const claim = (permits: number, of = 4) => ({ kind: 'semaphore', permits, of }) as const
  it.each([
    ['grants while permits are left', claim(2), [node(1, 2), node(2, 2)], node(2, 2), granted],
    ['waits when they do not reach', claim(3), [node(1, 2), node(2, 3)], node(2, 3), behind(undefined)],
    [
      'lets nobody pass who waits, though its own would be left',
      claim(1),
      [node(1, 2), node(2, 3), node(3, 1)],
      node(3, 1),
      behind(undefined),
    ],
    [
      'suspects strange names before it',
      claim(3),
      [node(1, 2), 'x-permits-1-0000000002', node(3, 3)],
      node(3, 3),
      behind(undefined, ['x-permits-1-0000000002']),
    ],
    ['ignores who came later', claim(4), [node(2, 4), node(3, 4)], node(2, 4), granted],
    ['tells who is not there', claim(1), [node(1, 1)], node(2, 1), undefined],
  ])('%s', (_, own, children, name, position) => {
    expect(positionOf(own, children, name)).toEqual(position)
  })

  it('never grants more than there are, and always somebody, if all ask for what there is at most', () => {
    const line = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 })
    fc.assert(
      fc.property(line, fc.integer({ min: 9, max: 20 }), (wanted, of) => {
        const names = wanted.map((permits, i) => node(i, permits))
        const holders = wanted.filter(
          (permits, i) => positionOf(claim(permits, of), names, names[i] as string)?.granted,
        )
        expect(holders.length).toBeGreaterThan(0)
        expect(holders.reduce((sum, permits) => sum + permits, 0)).toBeLessThanOrEqual(of)
        expect(wanted.slice(0, holders.length)).toEqual(holders)
      }),
    )
  })
})
