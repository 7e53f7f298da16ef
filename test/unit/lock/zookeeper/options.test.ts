import { describe, expect, it } from 'vitest'
import { zookeeperLock } from '../../../../src/lock/zookeeper/index.js'

describe('the options of zookeeperLock', () => {
  it('are checked without a connection', () => {
    expect(() => zookeeperLock({ servers: '' })).toThrow(RangeError)
    expect(() => zookeeperLock({ servers: 'h', path: 'locks' })).toThrow(RangeError)
    expect(() => zookeeperLock({ servers: 'h', sessionTimeoutMs: 0 })).toThrow(RangeError)
    expect(() => zookeeperLock({ servers: 'h', sessionTimeoutMs: 2 ** 31 })).toThrow(RangeError)
    expect(() => zookeeperLock({ servers: 'h', sessionTimeoutMs: '1' as unknown as number })).toThrow(TypeError)
    expect(() => zookeeperLock({} as never)).toThrow(TypeError)
  })
})
