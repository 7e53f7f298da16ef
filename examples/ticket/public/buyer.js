import { clockText } from './shared/clock.js'
import { byId, count, element, setText } from './shared/dom.js'
import { newId } from './shared/id.js'

const money = (cents) => (cents / 100).toLocaleString('en', { style: 'currency', currency: 'EUR' })
const timeText = (atMs) => new Date(atMs).toLocaleTimeString('en-GB')
const mostAtOnce = 6
const noAnswer = 'No answer came. Try again: your order keeps its key, so nothing is bought twice.'

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

  /** Sends a request for an order. `undefined`: no answer came. */
  async function send(path, order, body, headers = {}) {
    try {
      const response = await fetch(path, {
        method: 'POST',
        headers: { ...(body && { 'Content-Type': 'application/json' }), ...headers },
        ...(body && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(15_000),
      })
      return { status: response.status, answer: await response.json().catch(() => ({})) }
    } catch {
      change(order, { text: noAnswer })
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
      if (order.state === 'none') order.quantity = Number(byId('quantity').value) || 1
      change(order, { text: '' })
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
    else if (error === 'sold-out') {
      startAnew(showId, answer.available > 0 ? message : 'No ticket is free. One that is not paid for comes back.')
    } else if (status === 503)
      change(order, { text: 'A store is away for a moment. Try again: nothing is bought twice.' })
    else startAnew(showId, message)
  }

  const pay = (showId) =>
    act(async () => {
      const order = orderOf(showId)
      const reply = await send(url(showId, 'orders', order.key, 'pay'), order, { card: 'pretended' })
      if (!reply) return
      const { status, answer } = reply
      if (status === 200) change(order, { state: 'paid', text: 'Paid. The tickets are yours.' })
      else if (status === 410) startAnew(showId, 'Your time was over, so the tickets went back. No money was taken.')
      else change(order, { text: answer.message ?? `The service answered ${status}.` })
    })

  const giveBack = (showId, verb, text) =>
    act(async () => {
      const order = orderOf(showId)
      const reply = await send(url(showId, 'orders', order.key, verb), order)
      if (reply === undefined) return
      if (reply.status === 200 || reply.status === 410) startAnew(showId, text)
      else change(order, { text: reply.answer.message ?? `The service answered ${reply.status}.` })
    })

  const leave = (showId) => startAnew(showId, 'You left the line. Your place lapses by itself.')

  /** What became of an order that this browser knows from before. */
  async function recall(showId) {
    const order = orderOf(showId)
    if (order.state !== 'held') return
    try {
      const response = await fetch(url(showId, 'orders', order.key))
      const { state, endsAtMs } = await response.json()
      if (state === 'held') change(order, { endsAtMs })
      else if (state === 'recorded' || state === 'accepted') change(order, { state: 'paid', text: 'Paid already.' })
      else startAnew(showId, 'Your time was over, so the tickets went back. No money was taken.')
    } catch {
      // Whoever pays is told.
    }
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

  /** A look, the clock's time, and the two buttons: text and what they do. */
  function viewOf(order, leftMs) {
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
    if (state === 'suspended') return [['Held back for a check', undefined]]
    const none = show.available === 0
    if (none && show.held === 0) return [['Sold out', undefined]]
    return [[none ? 'Try for one that comes back' : 'Hold tickets', () => hold(id)]]
  }

  function render() {
    if (show === undefined) return
    const order = orderOf(show.id)
    const { limitPerBuyer = 1, priceCents = show.priceCents, room, holdMs } = details.get(show.id) ?? {}
    const terms = [`${money(priceCents)} each`, `at most ${count(limitPerBuyer)} per person`]
    if (holdMs) terms.push(`${Math.round(holdMs / 1_000)} s to pay`)
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
    const [[mainText, mainWork], other] = viewOf(order, leftMs)
    setText(mainButton, acting ? 'One moment…' : mainText)
    mainButton.disabled = acting || mainWork === undefined
    mainButton.onclick = mainWork
    otherButton.hidden = other === undefined
    otherButton.disabled = acting
    if (other) setText(otherButton, other[0])
    otherButton.onclick = other?.[1]
    byId('quantity-label').hidden = order.state !== 'none' || limitPerBuyer < 2
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
      if (order.state === 'held' && order.endsAtMs <= now() && !acting) {
        startAnew(show.id, 'Your time was over, so the tickets went back. No money was taken.')
      }
      // Whose turn it is comes in by itself.
      if (order.state === 'in-line' && order.dueAtMs <= now() && order.text !== noAnswer) void hold(show.id)
      render()
    },
  }
}

/** Who buys, and this person's orders, kept in the browser where it allows that. */
function remembered() {
  const place = 'spillway-tickets'
  let memory
  try {
    memory = JSON.parse(localStorage.getItem(place))
  } catch {
    // A browser that keeps nothing: the memory then lasts as long as the page.
  }
  memory ??= { buyer: newId(), orders: {} }
  const fresh = (text) => ({ key: newId(), state: 'none', quantity: 1, text })
  const save = () => {
    try {
      localStorage.setItem(place, JSON.stringify(memory))
    } catch {
      // See above.
    }
  }
  return {
    save,
    buyer: memory.buyer,
    orderOf: (showId) => (memory.orders[showId] ??= fresh('')),
    renew(showId, text) {
      memory.orders[showId] = fresh(text)
      save()
    },
  }
}
