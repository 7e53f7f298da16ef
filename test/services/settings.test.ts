import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { formatAddress, parseAddress, parseAddresses } from './address.js'
import { asProperties, asVariables, kafkaSettings } from './kafka.js'
import { complaint } from './apt.js'
import { cacheFolder, pom } from './maven.js'
import { initialisation } from './mysql.js'
import { freePort, freePorts } from './net.js'
import { sentinelConfiguration } from './redis-sentinel.js'
import { redisArguments } from './redis.js'

describe('addresses', () => {
  it.each([
    ['localhost:6380', undefined, 'localhost', 6380],
    ['redis://10.0.0.7:7000', 6379, '10.0.0.7', 7000],
    ['redis://user:secret@cache.example', 6379, 'cache.example', 6379],
    ['[::1]:9092', undefined, '::1', 9092],
    [' broker ', 9092, 'broker', 9092],
  ])('reads %s', (text, defaultPort, host, port) => {
    expect(parseAddress(text, defaultPort)).toEqual({ host, port })
  })

  it.each(['', 'host', 'host:0', 'host:70000', 'host:port', 'a b:1'])('refuses %j without a default port', (text) => {
    expect(() => parseAddress(text)).toThrow(RangeError)
    expect(() => parseAddress(text)).toThrow(JSON.stringify(text))
  })

  it('reads lists, and writes what it reads', () => {
    const list = parseAddresses('a:1, [::2]:2,redis://c:3,')
    expect(list.map(formatAddress)).toEqual(['a:1', '[::2]:2', 'c:3'])
  })

  it('finds ports that are different and outside the range of outgoing connections', async () => {
    const ports = await freePorts(20)
    expect(new Set(ports).size).toBe(20)
    for (const port of ports) expect(port).toBeGreaterThanOrEqual(10_000)
    for (const port of ports) expect(port).toBeLessThan(32_768)
  })

  it('gives no port away twice, though nobody listens on it', async () => {
    const port = await freePort()
    const random = vi.spyOn(Math, 'random').mockReturnValueOnce((port - 10_000 + 0.5) / 12_000)
    onTestFinished(() => random.mockRestore())
    expect(await freePort()).not.toBe(port)
    expect(random.mock.calls.length).toBeGreaterThan(1)
  })
})

describe('what servers are told', () => {
  const settings = kafkaSettings({
    listen: '127.0.0.1:1',
    advertised: '127.0.0.1:2',
    controllerPort: 3,
    dataFolder: '/data',
    quick: true,
  })

  it('makes Kafka one node that creates no topic by itself', () => {
    const lines = asProperties(settings).trimEnd().split('\n')
    expect(lines).toContain('process.roles=broker,controller')
    expect(lines).toContain('auto.create.topics.enable=false')
    expect(lines).toContain('listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:3')
    expect(lines).toContain('advertised.listeners=PLAINTEXT://127.0.0.1:2')
    expect(lines).toHaveLength(Object.keys(settings).length)
  })

  it('says the same to Kafka’s image in variables', () => {
    expect(asVariables(settings)).toMatchObject({
      KAFKA_NODE_ID: '1',
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
      KAFKA_LOG_DIRS: '/data',
    })
  })

  it('has Redis forget by default, and write before it answers when durable', () => {
    expect(redisArguments({}).join(' ')).toContain('--appendonly no')
    expect(redisArguments({ durable: true }).join(' ')).toContain('--appendonly yes --appendfsync always')
    expect(redisArguments({ args: ['--maxmemory', '1mb'] }).slice(-2)).toEqual(['--maxmemory', '1mb'])
  })

  it('has two Sentinels agree before a failover', () => {
    expect(sentinelConfiguration(7_000)).toContain('sentinel monitor mymaster 127.0.0.1 7000 2\n')
  })

  it('initialises MariaDB and MySQL each in its own way', () => {
    expect(initialisation('mariadbd', 'mariadb-install-db', '/d')).toEqual(
      expect.arrayContaining(['mariadb-install-db', '--datadir=/d', '--auth-root-authentication-method=normal']),
    )
    expect(initialisation('mysqld', undefined, '/d')).toEqual(
      expect.arrayContaining(['mysqld', '--initialize-insecure']),
    )
  })

  it('asks Maven for an artifact, and keeps it in the user’s cache', () => {
    expect(pom([{ group: 'g', name: 'n', version: '1.2' }])).toMatch(
      /<groupId>g<\/groupId>\s*<artifactId>n<\/artifactId>\s*<version>1.2<\/version>/,
    )
    expect(cacheFolder({ SPILLWAY_CACHE: '/c', XDG_CACHE_HOME: '/x' })).toBe('/c')
    expect(cacheFolder({ XDG_CACHE_HOME: '/x' })).toBe('/x/spillway')
    expect(cacheFolder({})).toMatch(/\.cache\/spillway$/)
  })
})

describe('complaint', () => {
  it('finds what went wrong among what was said', () => {
    const apt = 'Reading package lists...\nE: Unable to locate package x\n'
    expect(complaint(apt)).toBe('E: Unable to locate package x')
    expect(complaint('one\ntwo\nthree\nfour\n')).toBe('two | three | four')
    expect(complaint('')).toBe('')
  })
})
