import { describe, it } from 'vitest'
import { stockContract } from '../../src/stock/contract.js'
import { memoryStock, type StockOptions } from '../../src/stock/index.js'
import { virtualClock } from '../support/virtual-clock.js'

const onVirtualTime = (local?: StockOptions['local']): void =>
  stockContract(it, async () => {
    const clock = virtualClock()
    const driver = memoryStock({ clock })
    return {
      clock,
      driver: () => driver,
      ...(local ? { local } : {}),
      advance: (ms) => clock.advance(ms),
      [Symbol.asyncDispose]: async () => undefined,
    }
  })

describe('memoryStock', () => onVirtualTime())
describe('memoryStock through a gate', () => onVirtualTime({ mode: 'gate', units: 3 }))
