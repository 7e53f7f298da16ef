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
    expect(() => zookeeperLock({ servers: `h/${'x'.repeat(8_192)}` })).toThrow(RangeError)
  })

  it.each([
    [undefined, 'zookeeperLock: options must be an object with servers, path, sessionTimeoutMs, clock, got undefined'],
    [null, 'zookeeperLock: options must be an object with servers, path, sessionTimeoutMs, clock, got null'],
    ['localhost:2181', 'servers, path, sessionTimeoutMs, clock, got "localhost:2181"'],
    [{}, 'servers must be a string, got undefined'],
    [{ servers: ['localhost:2181'] }, "servers must be a string, got [ 'localhost:2181' ]"],
    [{ servers: Symbol('x') }, 'servers must be a string, got Symbol(x)'],
    [{ servers: 'h', sessionTimeout: 5 }, 'zookeeperLock: there is no option "sessionTimeout", only servers, path'],
    [{ servers: 'h', path: null }, 'zookeeperLock: path must not be null'],
    [{ servers: 'h', sessionTimeoutMs: '5' }, 'sessionTimeoutMs must be a number, got "5"'],
  ])('of %j are turned away by a TypeError that names what came', (options, message) => {
    const make = (): unknown => zookeeperLock(options as never)
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
  })
})
