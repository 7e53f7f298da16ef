import { clockText } from './shared/clock.js'
import { byId, count, element, setText } from './shared/dom.js'
import { newId } from './shared/id.js'

const money = (cents) => (cents / 100).toLocaleString('en', { style: 'currency', currency: 'EUR' })
const durationText = (ms) => (ms < 120_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} minutes`)
const timeText = (atMs) => new Date(atMs).toLocaleTimeString('en-GB')
const mostAtOnce = 6
const noAnswer = 'No answer came. Try again: your order keeps its key, so nothing is bought twice.'
const timeOver = 'Your time was over, so the tickets went back. No money was taken.'
/** How long a page waits before it asks again by itself. */
const retryMs = 2_000

/**
 * One person who wants tickets. The key of an order is made once and kept until the order has ended, over a reload as well,
 * and so is a place in line.
 */
export function createBuyer({ now }) {
  const memory = remembered()
  const details = new Map()
  const mainButton = byId('main')
  const otherButton = byId('other')
  let show
  let acting = false

  const orderOf = (showId) => memory.orderOf(showId)
  const url = (showId, ...path) => ['shows', encodeURIComponent(showId), ...path].join('/')

  const change = (order, changes) => {
    Object.assign(order, changes)
    memory.save()
    render()
  }
  /** A new order, with a word on what became of the last. */
  const startAnew = (showId, text) => {
    memory.renew(showId, text)
    render()
  }

  /** Sends a request for an order. `undefined`: no answer came, or the order has been ended by another tab meanwhile. */
  async function send(path, order, body, headers = {}) {
    const { key } = order
    try {
      const response = await fetch(path, {
        method: 'POST',
        headers: { ...(body && { 'Content-Type': 'application/json' }), ...headers },
        ...(body && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(15_000),
      })
      const answer = await response.json().catch(() => ({}))
      return order.key === key ? { status: response.status, answer } : undefined
    } catch {
      change(order, { text: noAnswer, askAgainAtMs: now() + retryMs })
      return undefined
    }
  }

  async function act(work) {
    if (acting) return
    acting = true
    render()
    try {
      await work()
    } finally {
      acting = false
      render()
    }
  }

  const hold = (showId) =>
    act(async () => {
      const order = orderOf(showId)
      // What was sent once under a key stays as it is.
      if (!order.sent) order.quantity = Number(byId('quantity').value) || 1
      change(order, { text: '', sent: true })
      const headers = { 'Idempotency-Key': order.key, ...(order.place && { 'Waiting-Place': order.place }) }
      const reply = await send(url(showId, 'holds'), order, { buyer: memory.buyer, quantity: order.quantity }, headers)
      if (reply) decide(showId, order, reply)
    })

  function decide(showId, order, { status, answer }) {
    const { error, message = `The service answered ${status}.` } = answer
    if (status === 201) {
      const { endsAtMs, amountCents } = answer
      change(order, { state: 'held', place: undefined, endsAtMs, amountCents, text: 'Pay before the time is over.' })
    } else if (error === 'in-line') {
      const { place, dueAtMs, lapsesAtMs, ahead } = answer
      change(order, { state: 'in-line', place, dueAtMs, lapsesAtMs, ahead, text: 'You have a place in line.' })
    } else if (error === 'early') change(order, { dueAtMs: answer.dueAtMs })
    else if (error === 'lapsed') startAnew(showId, 'Your place in line has lapsed. Take another one.')
    else if (error === 'sold-out' && order.place && answer.available === 0 && show.id === showId && show.held > 0) {
      change(order, {
        text: 'All tickets are held or sold at the moment. This page asks again for as long as your place is good.',
        askAgainAtMs: now() + retryMs,
      })
    } else if (error === 'sold-out') {
      startAnew(
        showId,
        answer.available > 0
          ? message
          : 'All tickets are held or sold. Look again: those that are not paid for come back.',
      )
    } else if (status >= 500)
      change(order, {
        text: 'The service cannot decide at the moment. Try again: nothing is bought twice.',
        askAgainAtMs: now() + retryMs,
      })
    else startAnew(showId, message)
  }

  const pay = (showId) =>
    act(async () => {
      const order = orderOf(showId)
      const reply = await send(url(showId, 'orders', order.key, 'pay'), order, { card: 'pretended' })
      if (!reply) return
      const { status, answer } = reply
      if (status === 200) change(order, { state: 'paid', text: 'Paid. The tickets are yours.' })
      else if (status === 410) startAnew(showId, timeOver)
      else await explain(showId, order, reply)
    })

  /** A refusal may mean that the order is not what this page takes it for. */
  async function explain(showId, order, { status, answer }) {
    change(order, { text: answer.message ?? `The service answered ${status}.` })
    if (status === 409) await recall(showId)
  }

  const giveBack = (showId, verb, text) =>
    act(async () => {
      const order = orderOf(showId)
      const reply = await send(url(showId, 'orders', order.key, verb), order)
      if (reply === undefined) return
      if (reply.status === 200 || reply.status === 410) startAnew(showId, text)
      else await explain(showId, order, reply)
    })

  const leave = (showId) => startAnew(showId, 'You left the line. Your place lapses by itself.')

  /** What became of an order that this browser knows from before. */
  async function recall(showId) {
    const order = orderOf(showId)
    if (order.state !== 'held' && order.state !== 'paid') return
    const { key } = order
    order.askAgainAtMs = now() + retryMs
    let status, answer
    try {
      const response = await fetch(url(showId, 'orders', key), { signal: AbortSignal.timeout(15_000) })
      status = response.status
      answer = await response.json()
    } catch {
      // Whoever pays is told.
      return
    }
    // The buyer, or another tab, may have begun a new order meanwhile.
    if (orderOf(showId) !== order || order.key !== key) return
    if (status === 404) return startAnew(showId, 'The service does not know your last order any more.')
    if (status !== 200) return
    const { state, endsAtMs } = answer
    const ends = {
      expired: timeOver,
      cancelled: 'You gave the tickets back.',
      refunding: 'The tickets went back, and so does the money.',
      refunded: 'The tickets went back, and so did the money.',
      rejected: 'The tickets could not be yours. No money was taken.',
    }
    if (state in ends) startAnew(showId, ends[state])
    else if (state === 'held') change(order, { endsAtMs })
    else if (order.state !== 'paid') change(order, { state: 'paid', text: 'Paid. The tickets are yours.' })
  }

  async function look(showId) {
    details.set(showId, {})
    try {
      details.set(showId, await (await fetch(url(showId))).json())
    } catch {
      details.delete(showId)
    }
    render()
  }

  /** The two buttons: text and what they do. */
  function buttonsOf(order, leftMs) {
    const { id, state } = show
    if (order.state === 'held') {
      const cancel = () => giveBack(id, 'cancel', 'You gave the tickets back.')
      return [
        ['Pay ' + money(order.amountCents ?? 0), () => pay(id)],
        ['Give them back', cancel],
      ]
    }
    if (order.state === 'paid') {
      const refund = () => giveBack(id, 'refund', 'The tickets went back, and so did the money.')
      return [
        ['Yours', undefined],
        ['Ask for a refund', refund],
      ]
    }
    if (order.state === 'in-line') {
      return [
        [leftMs > 0 ? 'Waiting for your turn' : 'Come in', leftMs > 0 ? undefined : () => hold(id)],
        ['Leave the line', () => leave(id)],
      ]
    }
    const opensMs = show.opensAtMs - now()
    if (opensMs > 0) return [[`Opens in ${clockText(opensMs)}`, undefined]]
    if (state === 'suspended') return [['Paused for a moment', undefined]]
    const none = show.available === 0
    if (none && show.held === 0) return [['Sold out', undefined]]
    return [[none ? 'Try for one that comes back' : 'Hold tickets', () => hold(id)]]
  }

  function render() {
    if (show === undefined) return
    const order = orderOf(show.id)
    const { limitPerBuyer = 1, priceCents = show.priceCents, room, holdMs } = details.get(show.id) ?? {}
    const terms = [`${money(priceCents)} each`, `at most ${count(limitPerBuyer)} per person`]
    if (holdMs) terms.push(`${durationText(holdMs)} to pay`)
    if (room) terms.push(`${room.perSecond} people let in a second`)
    setText(byId('terms'), terms.join(' · '))

    const waits = order.state === 'in-line'
    const endMs = waits ? order.dueAtMs : order.endsAtMs
    const leftMs = waits || order.state === 'held' ? endMs - now() : 0
    const clock = byId('clock')
    clock.hidden = leftMs <= 0
    if (leftMs > 0) setText(clock, clockText(leftMs))
    byId('panel').dataset.state = order.state
    setText(byId('message'), order.text ?? '')

    showFacts(order)
    const [[mainText, mainWork], other] = buttonsOf(order, leftMs)
    setText(mainButton, acting ? 'One moment…' : mainText)
    mainButton.disabled = acting || mainWork === undefined
    mainButton.onclick = mainWork
    otherButton.hidden = other === undefined
    otherButton.disabled = acting
    if (other) setText(otherButton, other[0])
    otherButton.onclick = other?.[1]
    byId('quantity-label').hidden = order.state !== 'none' || order.sent === true || limitPerBuyer < 2
    const choices = Math.min(limitPerBuyer, mostAtOnce)
    const select = byId('quantity')
    if (select.options.length !== choices) {
      select.replaceChildren(...Array.from({ length: choices }, (_, i) => new Option(i + 1, i + 1)))
    }
  }

  function showFacts(order) {
    const facts = {
      none: [],
      'in-line': [
        ['Your turn', () => timeText(order.dueAtMs)],
        ['People before you', () => `about ${count(order.ahead)}`],
        ['Use it before', () => timeText(order.lapsesAtMs)],
      ],
      held: [
        ['Tickets', () => count(order.quantity)],
        ['Held until', () => timeText(order.endsAtMs)],
      ],
      paid: [
        ['Tickets', () => count(order.quantity)],
        ['Paid', () => money(order.amountCents ?? 0)],
        ['Order', () => order.key],
      ],
    }[order.state]
    const text = JSON.stringify(facts.map(([label, value]) => [label, value()]))
    const list = byId('facts')
    if (list.dataset.shown === text) return
    list.dataset.shown = text
    list.hidden = facts.length === 0
    list.replaceChildren(
      ...facts.map(([label, value]) => element('div', '', element('dt', '', label), element('dd', '', value()))),
    )
  }

  return {
    show(next) {
      const isNew = next.id !== show?.id
      show = next
      if (isNew) void recall(show.id)
      if (!details.has(show.id)) void look(show.id)
      render()
    },
    tick() {
      if (show === undefined) return
      const order = orderOf(show.id)
      const mayAsk = !acting && (order.askAgainAtMs ?? 0) <= now()
      // The service knows whether the tickets were paid for in time.
      if (mayAsk && order.state === 'held' && order.endsAtMs <= now()) void act(() => recall(show.id))
      // Whose turn it is comes in by itself.
      if (mayAsk && order.state === 'in-line' && order.dueAtMs <= now()) void hold(show.id)
      render()
    },
  }
}

/** Who buys, and this person's orders, kept in the browser where it allows that: each by itself, so that tabs share them. */
function remembered() {
  const prefix = 'spillway-tickets'
  const placeOf = (showId) => `${prefix}/${showId}`
  const orders = new Map()
  const read = (place) => {
    try {
      return JSON.parse(localStorage.getItem(place))
    } catch {
      // A browser that keeps nothing: the memory then lasts as long as the page.
      return null
    }
  }
  const write = (place, value) => {
    try {
      localStorage.setItem(place, JSON.stringify(value))
    } catch {
      // See above.
    }
  }
  const fresh = (text) => ({ key: newId(), state: 'none', quantity: 1, text })
  const buyer = read(prefix)?.buyer ?? newId()
  write(prefix, { buyer })
  // Another tab has changed an order: what it wrote counts.
  addEventListener('storage', ({ key }) => {
    for (const [showId, order] of orders) {
      const written = key === placeOf(showId) && read(key)
      if (!written) continue
      for (const name of Object.keys(order)) delete order[name]
      Object.assign(order, written)
    }
  })
  return {
    buyer,
    save: () => orders.forEach((order, showId) => write(placeOf(showId), order)),
    orderOf(showId) {
      const known = orders.get(showId) ?? read(placeOf(showId)) ?? fresh('')
      orders.set(showId, known)
      return known
    },
    renew(showId, text) {
      orders.set(showId, fresh(text))
      this.save()
    },
  }
}
