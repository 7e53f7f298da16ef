import { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Marks, StoredEntry } from '../../src/cache/index.js'
import { entryArguments, readEntry, readMarks } from '../../src/cache/redis/entry.js'
import endSource from '../../src/cache/redis/end.lua'
import marksSource from '../../src/cache/redis/marks.lua'
import takeSource from '../../src/cache/redis/take.lua'
import { describeWithServices, uniqueName } from '../services/vitest.js'

// Scripts in Lua and the driver in TypeScript read the same bytes. If the one took for fresh what the other cannot read, a
// key would be neither answered nor loaded. So each row of a table goes through both.

/** An entry as `end.lua` describes it, whole and fresh, with some of its bytes replaced. */
function entry(change: (bytes: Buffer) => void = () => undefined, tags = '', body = '"value"'): Buffer {
  const bytes = Buffer.alloc(54 + tags.length + body.length)
  bytes[0] = 1
  bytes.writeDoubleLE(1_000, 2)
  bytes.writeDoubleLE(Date.now() + 3_600_000, 10)
  bytes.writeDoubleLE(60_000, 18)
  bytes.writeDoubleLE(5, 26)
  bytes.writeDoubleLE(7, 34)
  bytes.write('0a1b2c3d', 42)
  bytes.writeUInt32LE(tags.length, 50)
  bytes.write(tags + body, 54)
  change(bytes)
  return bytes
}

const double = (at: number, value: number) => entry((bytes) => bytes.writeDoubleLE(value, at))
const byte = (at: number, value: number) => entry((bytes) => (bytes[at] = value))
const fields = { since: 2, expires: 10, staleMs: 18, loadMs: 26, count: 34 }

const entries: readonly (readonly [title: string, bytes: Buffer, fresh: boolean])[] = [
  ['an entry', entry(), true],
  ['an entry with tags', entry(undefined, '["a","b"]'), true],
  ['an entry with an empty body', entry(undefined, '', ''), true],
  ["'there is none'", byte(1, 1), true],
  ['one without an end', double(10, Infinity), true],
  ['one that is answered as stale for ever', double(18, Infinity), true],
  ['an expired one', double(10, Date.now() - 1), false],
  ['a deleted one', Buffer.concat([Buffer.from([1, 2]), Buffer.alloc(8)]), false],
  ['a deleted one as long as an entry', byte(1, 2), false],
  ['nothing', Buffer.alloc(0), false],
  ['one byte', Buffer.from([1]), false],
  ['five bytes', Buffer.from('hello'), false],
  ['text', Buffer.from('x'.repeat(80)), false],
  ['zeroes', Buffer.alloc(80), false],
  ['ones', Buffer.alloc(80, 255), false],
  ['an entry but for its last byte of head', entry().subarray(0, 53), false],
  ['an entry of format 0', byte(0, 0), false],
  ['an entry of format 2', byte(0, 2), false],
  ['an entry of format 255', byte(0, 255), false],
  ['an entry of an unknown kind', byte(1, 3), false],
  ['tags longer than the bytes', entry((bytes) => bytes.writeUInt32LE(8, 50)), false],
  ['tags of 4 GB', entry((bytes) => bytes.writeUInt32LE(2 ** 32 - 1, 50)), false],
  ...Object.entries(fields).flatMap(([name, at]) => [
    [`${name} that is no number`, double(at, NaN), false] as const,
    [`${name} below 0`, double(at, -1), false] as const,
    [`${name} below all`, double(at, -Infinity), false] as const,
  ]),
]

/** It is an entry for both, and it has ended: what is not a list of tags cannot be looked up. */
const withoutTags: readonly (readonly [title: string, tags: string])[] = [
  ['text', 'x'],
  ['a number', '1'],
  ['a list of numbers', '[1]'],
  ['an object', '{"a":1}'],
  ['half a list', '["a"'],
]

const marks: readonly (readonly [title: string, text: string | Buffer, valid: boolean])[] = [
  ['marks', '0a1b2c3d|12|3|4', true],
  ['marks of the greatest count', '0a1b2c3d|999999999999999|0|0', true],
  ['a count that is no exact number', '0a1b2c3d|9999999999999999|0|0', false],
  ['nothing', '', false],
  ['text', 'hello', false],
  ['no epoch', '|1|0|0', false],
  ['a short epoch', '0a1b|1|0|0', false],
  ['an epoch of other letters', 'xxxxxxxx|1|0|0', false],
  ['bytes', Buffer.from([0, 255, 124, 49, 124, 48, 124, 48]), false],
  ['one number less', '0a1b2c3d|1|0', false],
  ['one number more', '0a1b2c3d|1|0|0|0', false],
  ['a number below 0', '0a1b2c3d|-1|0|0', false],
  ['a clear of the future', '0a1b2c3d|1|2|0', false],
  ['a floor of the future', '0a1b2c3d|1|0|2', false],
  ['a line break', '0a1b2c3d|1|0|0\n', false],
  ['much', `0a1b2c3d|1|0|${'0'.repeat(100)}`, false],
]

describeWithServices('bytes in Redis', ['redis'], ({ redis: server }) => {
  const setUp = () => {
    const redis = new Redis(server.port, server.host)
    onTestFinished(() => redis.disconnect())
    const name = uniqueName('formats')
    /** Whether `take.lua` finds something fresh, so that it hands out no turn. */
    const isFresh = async (): Promise<boolean> => {
      const reply = await redis.eval(takeSource, 2, name, `${name}:turn`, 'id:', 1_000, 0, '', '')
      await redis.del(`${name}:turn`)
      return (reply as unknown[])[2] === null
    }
    return { redis, name, isFresh }
  }

  describe('at the key of an entry', () => {
    it.each(entries)('%s: fresh or absent for Lua and TypeScript alike', async (_title, bytes, fresh) => {
      const { redis, name, isFresh } = setUp()
      await redis.set(name, bytes)
      const read = readEntry(bytes, Date.now())
      expect([read !== undefined && read.freshMs > 0, await isFresh()]).toEqual([fresh, fresh])
    })

    it.each(withoutTags)('tags that are %s: an entry that has ended', async (_title, tags) => {
      const { redis, name, isFresh } = setUp()
      const bytes = entry(undefined, tags)
      await redis.set(name, bytes)
      expect(await isFresh()).toBe(true)
      // No marks have an empty epoch.
      expect(readEntry(bytes, Date.now())).toMatchObject({ born: { epoch: '' }, tags: [], sinceMs: 1_000 })
    })

    it.each([
      ['a hash', (redis: Redis, name: string) => redis.hset(name, 'a', 1)],
      ['a list', (redis: Redis, name: string) => redis.rpush(name, 'a')],
      ['a set', (redis: Redis, name: string) => redis.sadd(name, 'a')],
      ['a sorted set', (redis: Redis, name: string) => redis.zadd(name, 1, 'a')],
      ['a stream', (redis: Redis, name: string) => redis.xadd(name, '*', 'a', 'b')],
    ])('%s: absent', async (_title, put) => {
      const { redis, name, isFresh } = setUp()
      await put(redis, name)
      expect(await isFresh()).toBe(false)
    })

    it('what a script writes is what was to be stored', async () => {
      const { redis, name } = setUp()
      const born = { epoch: '0a1b2c3d', count: 9 }
      const stored: StoredEntry[] = [
        { body: 'text', freshMs: 1e6, staleMs: 5e5, loadMs: 2.5, born, tags: [] },
        { body: Buffer.from([0, 255, 1]), freshMs: Infinity, staleMs: 0, loadMs: 0, born, tags: ['"', 'ä', '\0'] },
        { body: undefined, freshMs: 1e3, staleMs: Infinity, loadMs: 1, born, tags: [] },
      ]
      for (const one of stored) {
        await redis.set(`${name}:turn`, 'id|1|0|0', 'PX', 60_000)
        const args = ['fill', 'id', 1, 0, '', 1_234, ...entryArguments(one)]
        expect(await redis.eval(endSource, 2, name, `${name}:turn`, 'bus', ...args)).toEqual(['', 1])
        const found = readEntry((await redis.getBuffer(name)) as Buffer, 0)
        const { body, freshMs, ...rest } = one
        expect(found).toMatchObject({ ...rest, sinceMs: 1_234 })
        expect(found?.body === undefined ? undefined : Buffer.from(found.body)).toEqual(body && Buffer.from(body))
        if (freshMs === Infinity) expect(found?.freshMs).toBe(Infinity)
      }
    })
  })

  describe('at the key of the marks', () => {
    it.each(marks)('%s: marks or absent for Lua and TypeScript alike', async (_title, text, valid) => {
      const { redis, name } = setUp()
      await redis.set(name, text)
      await redis.zadd(`${name}:tags`, 1, 'a tag')
      const reply = (await redis.eval(
        marksSource,
        2,
        name,
        `${name}:tags`,
        'read',
        'ffffffff',
        'bus',
        '',
        0,
      )) as unknown[]
      const read = readMarks(Buffer.from(text))
      expect([read !== undefined, reply[0] === '0a1b2c3d']).toEqual([valid, valid])
      if (!read) return expect(reply).toEqual(['ffffffff', 0, 0, 0, ''])
      expect(reply).toEqual([
        ...(['epoch', 'count', 'cleared', 'floor'] as const).map((name: keyof Marks) => read[name]),
        '',
      ])
    })
  })

  it('marks of tags that are lost end whatever has tags, and those of another type are replaced', async () => {
    const { redis, name } = setUp()
    const ask = async (...args: (string | number)[]): Promise<unknown> =>
      redis.eval(marksSource, 2, name, `${name}:tags`, args[0] as string, '0a1b2c3d', 'bus', '', ...args.slice(1))
    expect(await ask('read', 0, 'a')).toEqual(['0a1b2c3d', 0, 0, 0, '', 0])
    expect(await ask('tags', 1, 'a', 'a', 'b')).toEqual(['0a1b2c3d', 1, 0, 0, '', 1, 0])
    await redis.del(`${name}:tags`)
    expect(await ask('read', 0, 'a', 'b')).toEqual(['0a1b2c3d', 1, 0, 1, '', 1, 1])
    await redis.set(`${name}:tags`, 'text')
    expect(await ask('tags', 1, 'b', 'a', 'b')).toEqual(['0a1b2c3d', 2, 0, 1, '', 1, 2])
    await redis.del(`${name}:tags`)
    expect(await ask('clear', 0, 'a')).toEqual(['0a1b2c3d', 3, 3, 2, '', 2])
    await redis.zadd(`${name}:tags`, 'inf', 'a', -5, 'b')
    expect(await ask('read', 0, 'a', 'b')).toEqual(['0a1b2c3d', 3, 3, 2, '', 3, 2])
  })

  it.each([
    ['text', 'hello'],
    ['a number that is no exact one', 'x|99999999999999999999|0|s'],
    ['a store that was never handed out', 'x|1|2|s'],
    ['another kind', 'x|1|0|x'],
    ['more parts', 'x|y|1|0|0'],
    ['much', `${'x'.repeat(1_000)}|1|0|0`],
    ['a turn without an end', 'x|1|0|0'],
    ['a shared turn without an end', 'x|1|0|s'],
  ])('at the key of a turn, %s is no turn', async (_title, record) => {
    const { redis, name } = setUp()
    for (const shared of [0, 1]) {
      await redis.set(`${name}:turn`, record)
      if (!record.startsWith('x|1|0|') || record.endsWith('x')) await redis.pexpire(`${name}:turn`, 60_000)
      const taken = (await redis.eval(takeSource, 2, name, `${name}:turn`, 'id:', 60_000, shared, '', '')) as unknown[]
      expect(taken.slice(1)).toEqual([null, 'id:1', 1])
      const args = ['fill', 'id:1', 1, shared, '', 1_234]
      const stored = entryArguments({
        ...{ body: 'v', freshMs: 1e6, staleMs: 0, loadMs: 0, born: { epoch: '0a1b2c3d', count: 0 }, tags: [] },
      })
      expect(await redis.eval(endSource, 2, name, `${name}:turn`, 'bus', ...args, ...stored)).toEqual(['', 1])
      await redis.del(name)
    }
  })
})
