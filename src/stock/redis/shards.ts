import { randomUUID } from 'node:crypto'
import { sleep, systemClock } from '../../core/clock.js'
import type { Trip } from '../../core/group-commit.js'
import { damagedSale, frozenSale, type CloseRequest, type StockChanged } from '../driver.js'
import type { Sales, ShardState } from './sales.js'

/** For how long nobody else collects units of a SKU when the process that does was killed. */
const collectMs = 500
/** How long to wait for another process that collects. */
const pauseMs = 3
/** After so many pauses to look again what is left. */
const mostTries = 8
/** How often to read the shards until no transfer is in between. */
const mostReads = 100

/** All shards of a SKU that is on sale, the first one first. */
export interface SkuState {
  readonly epoch: string
  readonly shards: readonly ShardState[]
  /** Units that can be sold, in all shards and between them. */
  readonly left: number
  /** Those between shards. */
  readonly between: number
}

/** The shards of SKUs, as one thing: whether they are there, and what is in them and between them. */
export interface Shards {
  /** `undefined` where the SKU is not on sale. Makes the shards that are not there yet. Rejects with `frozenSale` where one was lost. */
  read(sku: string, trip: Trip): Promise<SkuState | undefined>
  /** As `read`, at a time when no transfer came in between, if `exact` is true. */
  readExactly(
    sku: string,
    close: CloseRequest | undefined,
    trip: Trip,
  ): Promise<(SkuState & { readonly exact: boolean }) | undefined>
  /**
   * Brings units to a shard: at least its part of what is left, more where more are `wanted`, which are the quantities of orders.
   * Answers what is left in all; the orders for which that is enough can be asked of the shard again. `token` as of `sell`.
   */
  collect(
    sku: string,
    shard: number,
    wanted: readonly number[],
    trip: Trip,
    token?: string,
  ): Promise<number | undefined>
  /**
   * Makes a frozen SKU whole: every shard there, no transfer under way, and as many units as were opened and restocked. Answers
   * for how many ms some process may still say sold out by itself; `undefined` where another one has frozen a shard. `thaws`
   * as of {@link Sales}.
   */
  mend(sku: string, token: string, forMs: number, thaws: number, trip: Trip): Promise<number | undefined>
}

export function createShards(sales: readonly Sales[]): Shards {
  const [first, ...others] = sales as readonly [Sales, ...Sales[]]

  const readEach = (
    sku: string,
    close: CloseRequest | undefined,
    trip: Trip,
  ): Promise<readonly (ShardState | undefined)[]> => Promise.all(sales.map((shard) => shard.level(sku, close, trip)))

  /** Opens the shards of a new sale that are not there yet. */
  async function prepare(sku: string, epoch: string, trip: Trip): Promise<void> {
    const open = async (shard: Sales): Promise<boolean> => {
      const [changed] = await shard.adjust(sku, [{ kind: 'open', epoch, quantity: 0 }], trip)
      return changed?.outcome === 'done'
    }
    await Promise.all(
      others.map(async (shard) => {
        if (await open(shard)) return
        // Of a sale that was removed while somebody prepared it.
        const stale = await shard.level(sku, undefined, trip)
        if (stale && (stale.total > 0 || stale.recorded > 0)) throw damagedSale(sku, undefined)
        if (stale) await shard.adjust(sku, [{ kind: 'remove', epoch: stale.epoch }], trip)
        await open(shard)
      }),
    )
    await first.move(sku, epoch, ['ready'], trip)
  }

  /** `undefined` where the SKU is not on sale; `null` where a shard is not there. */
  function stateOf(states: readonly (ShardState | undefined)[]): SkuState | undefined | null {
    const [head] = states
    if (!head) return undefined
    const shards = states.filter((state) => state?.epoch === head.epoch) as ShardState[]
    if (shards.length < sales.length) return null
    let between = 0
    for (const [from, { given }] of shards.entries()) {
      for (const [to, { number, units }] of given.entries()) {
        if (number > ((shards[to] as ShardState).got[from] as number)) between += units
      }
    }
    const left = shards.reduce((sum, { available, late }) => sum + available - late, between)
    return { epoch: head.epoch, shards, left, between }
  }

  async function read(sku: string, trip: Trip, close?: CloseRequest): Promise<SkuState | undefined> {
    const states = await readEach(sku, close, trip)
    const state = stateOf(states)
    if (state !== null) {
      // Whoever opened the shards may have been killed before it could say so. Without that, one that is lost would be made anew.
      if (state && !state.shards[0]?.ready) await first.move(sku, state.epoch, ['ready'], trip).catch(() => undefined)
      return state
    }
    const [head] = states as readonly [ShardState]
    if (!head.ready) await prepare(sku, head.epoch, trip)
    const again = stateOf(await readEach(sku, close, trip))
    // Without the records of a shard its ids would sell again.
    if (again === null) throw frozenSale(sku)
    return again
  }

  async function readExactly(sku: string, close: CloseRequest | undefined, trip: Trip, known?: SkuState) {
    let before = known ?? (await read(sku, trip))
    for (let reads = 1; before && !trip.signal.aborted; reads++) {
      const now: SkuState | undefined = await read(sku, trip, close && before.left < close.below ? close : undefined)
      if (!now) return undefined
      const exact = transfersOf(now) === transfersOf(before)
      if (exact || reads === mostReads) return { ...now, exact }
      before = now
    }
    return undefined
  }

  async function give(
    sku: string,
    { epoch, shards }: SkuState,
    from: number,
    to: number,
    most: number,
    trip: Trip,
    token: string,
  ): Promise<number> {
    const known = (shards[to] as ShardState).got[from] as number
    const step = ['give', to + 1, most, token, known]
    const [number, units] = (await (sales[from] as Sales).move(sku, epoch, step, trip)) ?? [0, 0]
    if (units > 0) await receive(sku, epoch, from, to, number, units, trip)
    return units
  }

  async function receive(
    sku: string,
    epoch: string,
    from: number,
    to: number,
    number: number,
    units: number,
    trip: Trip,
  ): Promise<void> {
    const received = await (sales[to] as Sales).move(sku, epoch, ['receive', from + 1, number, units], trip)
    if (received) await (sales[from] as Sales).move(sku, epoch, ['received', to + 1, number], trip)
  }

  /** Finishes the transfers that others have begun, perhaps before they were killed. */
  async function finish(sku: string, { epoch, shards }: SkuState, trip: Trip): Promise<void> {
    const begun = shards.flatMap(({ given }, from) =>
      given.map(({ number, units }, to) => ({ from, to, number, units })).filter(({ units }) => units > 0),
    )
    await Promise.all(begun.map(({ from, to, number, units }) => receive(sku, epoch, from, to, number, units, trip)))
  }

  /** Takes units from the shards that have most, until `shard` has as many as it wants. */
  async function moveUnits(sku: string, state: SkuState, shard: number, wanted: number, trip: Trip, token: string) {
    const leftOf = ({ available, late }: ShardState): number => available - late
    const here = leftOf(state.shards[shard] as ShardState)
    let missing = Math.max(wanted, Math.floor(state.left / sales.length)) - here
    const donors = state.shards
      .map((one, index) => ({ index, left: leftOf(one) }))
      .filter(({ index, left }) => index !== shard && left > 0)
      .sort((a, b) => b.left - a.left)
    for (const { index, left } of donors) {
      if (missing <= 0) break
      missing -= await give(sku, state, index, shard, Math.min(left, missing), trip, token)
    }
  }

  async function collect(
    sku: string,
    shard: number,
    wanted: readonly number[],
    trip: Trip,
    token = '',
  ): Promise<number | undefined> {
    const collector = randomUUID()
    const least = Math.min(...wanted)
    const most = wanted.reduce((sum, quantity) => sum + quantity, 0)
    for (;;) {
      const state = await read(sku, trip)
      if (!state) return undefined
      if (state.left < least) {
        const exact = await readExactly(sku, undefined, trip, state)
        if (!exact || (exact.exact && exact.left < least)) return exact?.left
      }
      if (!(await mayCollect(sku, state.epoch, collector, trip))) continue
      try {
        await finish(sku, state, trip)
        const whole = await readExactly(sku, undefined, trip)
        if (whole) await moveUnits(sku, whole, shard, Math.min(most, whole.left), trip, token)
        if (!whole || whole.exact || whole.left >= least) return whole?.left
      } finally {
        await first.move(sku, state.epoch, ['collect', collector, 0], trip).catch(() => undefined)
      }
    }
  }

  /** Waits for its turn to collect. `false` after a while: what is left may have changed. */
  async function mayCollect(sku: string, epoch: string, collector: string, trip: Trip): Promise<boolean> {
    for (let tries = 1; tries <= mostTries; tries++) {
      const [isOurs] = (await first.move(sku, epoch, ['collect', collector, collectMs], trip)) ?? [0]
      if (isOurs === 1) return true
      await sleep(pauseMs * (1 + Math.random()), { clock: systemClock, signal: trip.signal })
    }
    return false
  }

  /** Of a SKU whose first shard is frozen: makes the others that are lost, takes over those that it lost, and freezes all. */
  async function freezeOthers(
    sku: string,
    epoch: string,
    token: string,
    forMs: number,
    thaws: number,
    trip: Trip,
  ): Promise<readonly StockChanged[]> {
    const frozen = await Promise.allSettled(
      others.map(async (shard) => {
        const state = await shard.level(sku, undefined, trip)
        if (!state) await shard.adjust(sku, [{ kind: 'open', epoch, quantity: 0 }], trip)
        else if (state.epoch !== epoch) await shard.move(sku, state.epoch, ['adopt', epoch], trip)
        const [changed] = await shard.adjust(sku, [{ kind: 'freeze', token, quantity: 0, forMs }], trip, thaws)
        return changed as StockChanged
      }),
    )
    // Not before all have ended: a freeze that came after its own release would last.
    return frozen.map((one) => {
      if (one.status === 'rejected') throw one.reason
      return one.value
    })
  }

  async function mend(sku: string, token: string, forMs: number, thaws: number, trip: Trip) {
    const head = await first.level(sku, undefined, trip)
    if (!head) return undefined
    const { epoch } = head
    const frozen = await freezeOthers(sku, epoch, token, forMs, thaws, trip)
    if (frozen.some(({ outcome }) => outcome !== 'done')) return undefined
    const begun = await read(sku, trip)
    if (begun) await finish(sku, begun, trip)
    const state = await read(sku, trip)
    if (!state) return undefined
    const [{ moved }, ...rest] = state.shards as [ShardState, ...ShardState[]]
    const missing = -(moved + rest.reduce((sum, { total }) => sum + total, state.between))
    if (missing < 0) await moveUnits(sku, state, 0, Math.min(-missing, state.left), trip, token)
    const now = await first.level(sku, undefined, trip)
    if (now && missing !== 0) await first.move(sku, epoch, ['correct', now.moved, missing, token], trip)
    await first.move(sku, epoch, ['ready'], trip)
    return Math.max(...frozen.map(({ onSaleInMs }) => onSaleInMs))
  }

  return { read: (sku, trip) => read(sku, trip), readExactly, collect, mend }
}

const transfersOf = ({ epoch, shards }: SkuState): string =>
  JSON.stringify([epoch, shards.map(({ given, got }) => [given, got])])
