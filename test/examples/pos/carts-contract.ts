import { describe, expect, it } from 'vitest'
import { limits, type Carts, type Change } from '../../../examples/pos/carts.js'

let names = 0
const unique = (): string => `${process.pid}-${++names}-${Math.random().toString(36).slice(2)}`

type Wish = Change extends infer One ? (One extends Change ? Omit<One, 'key'> : never) : never
const add = (productId: string, quantity = 1): Wish => ({ kind: 'add', productId, quantity })
const set = (productId: string, quantity: number): Wish => ({ kind: 'set', productId, quantity })
const clear: Wish = { kind: 'clear' }

/** What every store of carts does. `open` answers with the same store each time it is asked, through another client. */
export function cartsContract(open: () => Carts): void {
  const session = () => {
    const carts = open()
    const id = unique()
    return {
      id,
      carts,
      do: (wish: Wish, key = unique()) => carts.change(id, { key, ...wish }),
      contents: async () => (await carts.read(id)).lines.map(({ productId, quantity }) => `${quantity} ${productId}`),
    }
  }

  describe('a change', () => {
    it('adds, takes away, sets and clears, and keeps the order in which products came', async () => {
      const cart = session()
      const steps: [Wish, string[]][] = [
        [add('b'), ['1 b']],
        [add('a', 3), ['1 b', '3 a']],
        [add('b', 2), ['3 b', '3 a']],
        [add('a', -1), ['3 b', '2 a']],
        [set('b', 7), ['7 b', '2 a']],
        [set('c', 1), ['7 b', '2 a', '1 c']],
        [add('b', -7), ['2 a', '1 c']],
        [add('nothing', -1), ['2 a', '1 c']],
        [set('a', 0), ['1 c']],
        [add('b'), ['1 c', '1 b']],
        [clear, []],
        [add('b'), ['1 b']],
      ]
      let version = 0
      for (const [wish, expected] of steps) {
        const { outcome, cart: after } = await cart.do(wish)
        expect(outcome).toBe('changed')
        expect(after.version).toBe(++version)
        expect(after.lines.map(({ productId, quantity }) => `${quantity} ${productId}`)).toEqual(expected)
        expect(await cart.carts.read(cart.id)).toEqual(after)
      }
    })

    it('counts once for a key, however often it is sent and whatever it then says', async () => {
      const cart = session()
      await cart.do(add('a', 2), 'k')
      const again = await cart.do(add('a', 2), 'k')
      expect(again).toEqual({ outcome: 'replayed', cart: { version: 1, lines: [{ productId: 'a', quantity: 2 }] } })
      expect((await cart.do(set('a', 9), 'k')).outcome).toBe('replayed')
      expect(await cart.contents()).toEqual(['2 a'])
      await Promise.all(Array.from({ length: 20 }, () => cart.do(add('a'), 'same')))
      expect(await cart.contents()).toEqual(['3 a'])
    })

    it('is of one session: the same key in another is another', async () => {
      const [one, two] = [session(), session()]
      await one.do(add('a'), 'k')
      expect((await two.do(add('b'), 'k')).outcome).toBe('changed')
      expect(await one.contents()).toEqual(['1 a'])
      expect(await two.contents()).toEqual(['1 b'])
    })

    it('loses nothing of two tabs that add at once', async () => {
      const id = unique()
      const tabs = [open(), open()]
      const rounds = 20
      const outcomes = await Promise.all(
        Array.from({ length: rounds }, (_, round) =>
          tabs.map((carts, tab) =>
            carts.change(id, { key: `${round}-${tab}`, kind: 'add', productId: `p${round % 5}`, quantity: 1 }),
          ),
        ).flat(),
      )
      const cart = await open().read(id)
      expect(cart.lines.map(({ quantity }) => quantity)).toEqual([8, 8, 8, 8, 8])
      expect(cart.version).toBe(2 * rounds)
      // Each change saw all before it: no two of them made the same version.
      expect(new Set(outcomes.map(({ cart }) => cart.version)).size).toBe(2 * rounds)
    })

    it('is refused where a cart has no room, and changes nothing then', async () => {
      const cart = session()
      await cart.do(add('a', limits.ofOneProduct))
      const refused = await cart.do(add('a'), 'k')
      expect(refused.outcome).toBe('too-many')
      expect(refused.cart).toEqual({ version: 1, lines: [{ productId: 'a', quantity: limits.ofOneProduct }] })
      expect((await cart.do(set('b', limits.ofOneProduct + 1))).outcome).toBe('too-many')
      // A refusal is not remembered: there may be room later.
      await cart.do(set('a', 1))
      expect((await cart.do(add('a'), 'k')).outcome).toBe('changed')

      const full = session()
      for (let at = 0; at < limits.lines; at++) expect((await full.do(add(`p${at}`))).outcome).toBe('changed')
      expect((await full.do(add('one-more'))).outcome).toBe('too-many')
      expect((await full.do(add('p7', 5))).outcome).toBe('changed')
      expect((await full.do(set('p8', 0))).outcome).toBe('changed')
      expect((await full.do(add('one-more'))).outcome).toBe('changed')
      expect(await full.contents()).toHaveLength(limits.lines)
    })
  })

  describe('a sale', () => {
    it('turns the cart into a receipt, once for a key', async () => {
      const cart = session()
      await cart.do(add('a', 2), 'k')
      const sale = { key: 'sale', version: 1, receipt: '{"total":5}' }
      expect(await cart.carts.sell(cart.id, sale)).toEqual({ outcome: 'sold', receipt: '{"total":5}' })
      expect(await cart.carts.read(cart.id)).toEqual({ version: 2, lines: [] })
      const again = { ...sale, version: 2, receipt: '{"total":6}' }
      expect(await cart.carts.sell(cart.id, again)).toEqual({ outcome: 'replayed', receipt: '{"total":5}' })
      expect(await cart.carts.receipt(cart.id, 'sale')).toBe('{"total":5}')
      expect(await cart.carts.receipt(cart.id, 'other')).toBeUndefined()
      // A repetition that comes late does not fall into the next customer's cart.
      expect((await cart.do(add('a', 2), 'k')).outcome).toBe('replayed')
      expect(await cart.contents()).toEqual([])
    })

    it('sells no cart that has changed meanwhile', async () => {
      const cart = session()
      await cart.do(add('a'))
      await cart.do(add('b'))
      expect(await cart.carts.sell(cart.id, { key: 's', version: 1, receipt: 'r' })).toEqual({ outcome: 'changed' })
      expect(await cart.contents()).toEqual(['1 a', '1 b'])
      expect(await cart.carts.receipt(cart.id, 's')).toBeUndefined()
    })

    it('sells to one of those who ask at once', async () => {
      const cart = session()
      await cart.do(add('a'))
      const sold = await Promise.all(
        Array.from({ length: 10 }, (_, at) =>
          open().sell(cart.id, { key: `sale-${at}`, version: 1, receipt: `r${at}` }),
        ),
      )
      expect(sold.map(({ outcome }) => outcome).sort()).toEqual([...Array<string>(9).fill('changed'), 'sold'])
    })
  })

  it('forgets a cart and keeps its receipts', async () => {
    const cart = session()
    await cart.do(add('a'))
    await cart.carts.sell(cart.id, { key: 's', version: 1, receipt: 'r' })
    await cart.do(add('b'))
    await cart.carts.forget(cart.id)
    expect(await cart.carts.read(cart.id)).toEqual({ version: 0, lines: [] })
    expect(await cart.carts.receipt(cart.id, 's')).toBe('r')
  })
}
