import { describe, expect, it } from 'vitest'
import { parseAddress } from './address.js'
import { ask } from './net.js'
import { describeWithServices } from './vitest.js'
import { zooKeeperConfiguration } from './zookeeper.js'

describeWithServices(
  'startZooKeeper',
  ['zookeeper'],
  ({ zookeeper }) => {
    const version = async (): Promise<string> => {
      const { host, port } = parseAddress(zookeeper.servers[0] as string)
      return ask(host, port, 'srvr')
    }

    it('answers where it says', async () => {
      expect(await version()).toMatch(/^Zookeeper version: 3\./)
    })

    it('is gone when killed and back when restarted', async () => {
      await zookeeper.kill()
      await expect(version()).rejects.toThrow()
      await zookeeper.restart()
      expect(await version()).toMatch(/^Zookeeper version/)
    })

    it('is silent while paused', async () => {
      await zookeeper.pause()
      await expect(version()).rejects.toThrow('did not answer')
      await zookeeper.unpause()
      expect(await version()).toMatch(/^Zookeeper version/)
    })
  },
  { private: true },
)

describe('zooKeeperConfiguration', () => {
  it('keeps to its own folder, port and address', () => {
    const lines = zooKeeperConfiguration(2345, '/somewhere/data').split('\n')
    expect(lines).toEqual(expect.arrayContaining(['clientPort=2345', 'clientPortAddress=127.0.0.1']))
    expect(lines).toContain('dataDir=/somewhere/data')
  })
})
