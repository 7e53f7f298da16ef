import { it } from 'vitest'
import { lockContract } from '../../src/lock/contract.js'
import { zookeeperLock } from '../../src/lock/zookeeper/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

describeWithServices('zookeeperLock', ['zookeeper'], ({ zookeeper }) =>
  lockContract(it.concurrent, async () => {
    const drivers: AsyncDisposable[] = []
    const path = `/${uniqueName('contract')}`
    // Long enough for a heartbeat to be late by some seconds.
    const heldMs = 10_000
    return {
      heldMs,
      driver() {
        const driver = zookeeperLock({ servers: zookeeper.servers.join(), path, sessionTimeoutMs: heldMs })
        drivers.push(driver)
        return driver
      },
      advance: (ms) => sleep(ms),
      [Symbol.asyncDispose]: async () => {
        await Promise.all(drivers.map((driver) => driver[Symbol.asyncDispose]()))
      },
    }
  }),
)
