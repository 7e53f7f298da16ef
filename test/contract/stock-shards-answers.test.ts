import { expect, it } from 'vitest'
import { NothingApplied } from '../../src/core/group-commit.js'
import { createSharded } from '../../src/stock/redis/sharded.js'
import { describeWithServices } from '../services/vitest.js'
import { until } from '../support/until.js'
import { appliedOf, gate, nameAt, order, setUp, shards, sku, trip } from './stock-shards-steps.js'
describeWithServices('answers about a SKU over four shards', ['redis-cluster'], ({ 'redis-cluster': server }) => {
  it('an order of a lost shard is not said to be unknown', async () => {
    const { stock, loseShard } = setUp(server)
    await stock.open(sku, 10)
    const id = nameAt(2)
    await stock.sell(order(id))
    await loseShard(2)
    expect(await appliedOf(stock.refund(id, sku))).toMatch(/frozen/)
  })

  it('a shard that is lost is not made anew, although nobody could say that all of them were there', async () => {
    const { salesOf, stock, stockOf, loseShard } = setUp(server)
    const killed = stockOf(
      createSharded(
        salesOf((sales) => ({
          async move(...args) {
            if (args[2][0] === 'ready') throw new Error('killed')
            return sales.move(...args)
          },
        })),
      ),
    )
    await killed.open(sku, 40)
    const id = nameAt(2)
    await stock.sell(order(id))
    await loseShard(2)
    for (const process of [stock, stockOf(createSharded(salesOf()))]) {
      expect(await appliedOf(process.sell(order(id)))).toMatch(/^no: .*frozen/)
    }
  })

  it('orders() says so when the sale ends on the way', async () => {
    const { stock } = setUp(server)
    await stock.open(sku, 100)
    for (let shard = 0; shard < shards; shard++) await stock.sell(order(nameAt(shard)))
    const found: string[] = []
    const read = async (): Promise<void> => {
      for await (const { orderId } of stock.orders(sku)) {
        if (found.length === 0) {
          await stock.remove(sku)
          await stock.open(sku, 100)
        }
        found.push(orderId)
      }
    }
    await expect(read()).rejects.toThrow('is not on sale')
  })

  it('sends nothing more of a call that was given up', async () => {
    const { salesOf, stock, stockOf, redis } = setUp(server)
    // To connect may take longer than the call may.
    await redis.ping()
    const wait = gate()
    const slow = stockOf(
      createSharded(
        salesOf((sales, shard) => ({
          async level(...args) {
            if (shard === 2) await wait.promise
            return sales.level(...args)
          },
        })),
      ),
      { timeoutMs: 200 },
    )
    expect(await appliedOf(slow.open(sku, 5))).toMatch(/^unknown/)
    wait.resolve()
    await new Promise((resolve) => setTimeout(resolve, 300))
    await expect(stock.level(sku)).rejects.toThrow('is not on sale')
  })

  it('sells nothing more for a call that was given up', async () => {
    const { salesOf, stock, stockOf } = setUp(server)
    await stock.open(sku, 400)
    await stock.sell(order(nameAt(2, 'bring'), { quantity: 3 }))
    const wait = gate()
    const slow = stockOf(
      createSharded(
        salesOf((sales, shard) => ({
          async sell(...args) {
            const reply = await sales.sell(...args)
            if (shard === 1) await wait.promise
            return reply
          },
        })),
      ),
      { timeoutMs: 200 },
    )
    const id = nameAt(1)
    expect(await appliedOf(slow.sell(order(id, { buyer: { id: nameAt(2, 'ann'), limit: 1 } })))).toMatch(/^unknown/)
    expect(await stock.find(id, sku)).toBeUndefined()
    wait.resolve()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await stock.find(id, sku)).toBeUndefined()
  })

  it('a sale that is being opened is not said to be frozen', async () => {
    const { salesOf, stockOf } = setUp(server)
    // Opened by a process that has made no other shard yet.
    const sales = salesOf()
    await sales[0]?.adjust(sku, [{ kind: 'open', epoch: 'e1', quantity: 10 }], trip)
    const other = createSharded(salesOf())
    let isFirst = true
    const wait = gate()
    const slow = stockOf(
      createSharded(
        salesOf((plain, shard) => ({
          async level(...args) {
            // The first shard's node is slower to read than the others' are to be made.
            if (shard === 0 && isFirst) {
              isFirst = false
              await wait.promise
              await other.level(sku, undefined, trip)
            }
            const state = await plain.level(...args)
            if (shard === 3) wait.resolve()
            return state
          },
        })),
      ),
    )
    expect(await appliedOf(slow.level(sku))).toMatchObject({ total: 10 })
  })

  it('an order that reconcile recorded elsewhere is sold, although its hold here had ended', async () => {
    const { stock } = setUp(server)
    await stock.open(sku, 400)
    const id = nameAt(1)
    await stock.reserve({ ...order(id), holdMs: 600_000 })
    await stock.cancel(id, sku)
    const found = await stock.reconcile(sku, [{ orderId: id, buyerId: nameAt(2, 'ann') }])
    expect(found).toMatchObject({ recorded: 1, unsold: [] })
    expect(await stock.sell(order(id))).toEqual({ ok: true, replayed: true })
    expect(await stock.refund(id, sku)).toBe('done')
  })

  it('one shard that says no does not say it for another whose answer was lost', async () => {
    const { salesOf, stock, stockOf, redis, key } = setUp(server)
    await stock.open(sku, 400)
    for (const shard of [2, 3]) await stock.sell(order(nameAt(shard, 'bring'), { quantity: 3 }))
    const lossy = stockOf(
      createSharded(
        salesOf((sales, shard) => ({
          async sell(...args) {
            const reply = await sales.sell(...args)
            if (shard === 3) throw new Error('Connection is closed.')
            return reply
          },
        })),
      ),
    )
    // The shard of one buyer is frozen, the answer of the other's is lost.
    await redis.hset(key(2, 'stock'), 'frozen', 'nobody 0')
    const [a, b] = [nameAt(1, 'a'), nameAt(1, 'b')]
    const [frozen, lost] = await Promise.all([
      appliedOf(lossy.sell(order(a, { buyer: { id: nameAt(2, 'ann'), limit: 1 } }))),
      appliedOf(lossy.sell(order(b, { buyer: { id: nameAt(3, 'bob'), limit: 1 } }))),
    ])
    expect(frozen).toMatch(/^no: /)
    expect(await stock.find(b, sku)).toMatchObject({ state: 'sold' })
    expect(lost).toMatch(/^unknown: /)
  })

  it('a SKU whose first shard is lost can be removed', async () => {
    const { stock, loseShard, redis, prefix } = setUp(server)
    await stock.open(sku, 400)
    for (let shard = 0; shard < shards; shard++) await stock.sell(order(nameAt(shard)))
    await loseShard(0)
    await stock.remove(sku)
    const found = await Promise.all(redis.nodes('master').map((node) => node.keys(`${prefix}*`)))
    expect(found.flat()).toEqual([])
  })

  it('a removal of which a part was applied is not told applied no', async () => {
    const { salesOf, stock, stockOf, redis, key } = setUp(server)
    await stock.open(sku, 400)
    const readOnly = stockOf(
      createSharded(
        salesOf((sales, shard) => ({
          async adjust(...args) {
            if (shard === 2 && args[1][0]?.kind === 'remove') {
              await until(async () => (await redis.exists(key(1, 'stock'))) === 0)
              throw new NothingApplied(new Error('READONLY'))
            }
            return sales.adjust(...args)
          },
        })),
      ),
    )
    expect(await appliedOf(readOnly.remove(sku))).toMatch(/^unknown: /)
  })

  it('a removal whose last step is refused is not told applied no', async () => {
    const { salesOf, stock, stockOf, redis, prefix } = setUp(server)
    await stock.open(sku, 400)
    await stock.level(sku)
    let removals = 0
    const readOnly = stockOf(
      createSharded(
        salesOf((sales, shard) => ({
          async adjust(...args) {
            const isRemoval = args[1][0]?.kind === 'remove'
            if (shard === 2 && isRemoval && ++removals === 2) throw new NothingApplied(new Error('READONLY'))
            return sales.adjust(...args)
          },
        })),
      ),
    )
    expect(await appliedOf(readOnly.remove(sku))).toMatch(/^unknown: /)
    const found = await Promise.all(redis.nodes('master').map((node) => node.keys(`${prefix}*`)))
    expect(found.flat()).toEqual([])
  })

  it('a hold whose place was lost is cancelled, and said to be, although another shard is frozen', async () => {
    const { stock, redis, key } = setUp(server)
    await stock.open(sku, 400)
    const [id, other] = [nameAt(1), nameAt(1, 'other')]
    await stock.reserve({ ...order(id, { buyer: { id: nameAt(2, 'ann'), limit: 1 } }), holdMs: 600_000 })
    await redis.del(key(1, 'placed'))
    await redis.hset(key(3, 'stock'), 'frozen', 'nobody 0')
    expect(await stock.cancel(id, sku)).toBe('done')
    // What no shard knows may be known to the one that is frozen.
    expect(await appliedOf(stock.cancel(other, sku))).toMatch(/^no: .* is frozen/)
  })

  it('a settlement is told applied unknown where the only shard that may know it gave no answer', async () => {
    const { salesOf, stock, stockOf, redis, key } = setUp(server)
    await stock.open(sku, 400)
    const id = nameAt(1)
    await stock.reserve({ ...order(id, { buyer: { id: nameAt(2, 'ann'), limit: 1 } }), holdMs: 600_000 })
    await redis.del(key(1, 'placed'))
    await redis.hset(key(3, 'stock'), 'frozen', 'nobody 0')
    const lossy = stockOf(
      createSharded(
        salesOf((sales, shard) => ({
          async settle(...args) {
            const reply = await sales.settle(...args)
            if (shard === 2) throw new Error('Connection is closed.')
            return reply
          },
        })),
      ),
    )
    expect(await appliedOf(lossy.cancel(id, sku))).toMatch(/^unknown: /)
    expect(await stock.cancel(id, sku)).toBe('already')
  })

  it('open is not told of a damaged sale while another process removes it', async () => {
    const { salesOf, stock, stockOf } = setUp(server)
    await stock.open(sku, 400)
    for (let shard = 0; shard < shards; shard++) await stock.sell(order(nameAt(shard)))
    const wait = gate()
    let isFirst = true
    const slow = stockOf(
      createSharded(
        salesOf((sales, shard) => ({
          async level(...args) {
            if (shard === 0 && isFirst) {
              isFirst = false
              await Promise.race([wait.promise, new Promise((resolve) => setTimeout(resolve, 300))])
              await stock.remove(sku)
            }
            const state = await sales.level(...args)
            if (shard === 3) wait.resolve()
            return state
          },
        })),
      ),
    )
    expect(await appliedOf(slow.open(sku, 5))).toBe(true)
  })

  it('reconcile uses units that wait for a gate, in whatever shard', async () => {
    const { salesOf, stock } = setUp(server)
    await stock.open(sku, 4)
    for (let shard = 0; shard < shards; shard++) await stock.sell(order(nameAt(shard)))
    const driver = createSharded(salesOf())
    await driver.level(sku, { below: 10, forMs: 60_000 }, trip)
    await driver.settle(sku, [{ kind: 'refund', orderId: nameAt(2) }], trip)
    const found = await stock.reconcile(sku, [
      { orderId: nameAt(0) },
      { orderId: nameAt(1) },
      { orderId: nameAt(3) },
      { orderId: nameAt(1, 'lost') },
    ])
    expect(found).toEqual({ recorded: 1, unsold: [], unknown: [] })
  })
})
