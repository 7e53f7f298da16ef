import { byId, setText } from './shared/dom.js'
import { clockText } from './shared/clock.js'
import { newId } from './shared/id.js'

/**
 * One person at the gate. The key of an order is made once and kept until the order has an answer, so that trying again
 * after a lost answer cannot buy twice; it is remembered over a reload.
 */
export function createBuyer() {
  const button = byId('buy')
  const message = byId('message')
  const memory = remembered()
  let sale
  let now = 0
  /** State of the order by sale: `key`, `state`, and what to say about it. */
  const orders = new Map()

  const orderOf = (saleId) => {
    let order = orders.get(saleId)
    if (order === undefined) {
      order = { saleId, key: memory.keyOf(saleId), state: 'none', text: '', waitUntil: 0 }
      orders.set(saleId, order)
      if (memory.hasSent(saleId)) void recall(order)
    }
    return order
  }

  const change = (order, changes) => {
    Object.assign(order, changes)
    render()
  }

  const ordersUrl = (order) => `sales/${encodeURIComponent(order.saleId)}/orders`

  async function buy(order) {
    change(order, { state: 'buying', text: '' })
    memory.sent(order.saleId)
    let response
    let answer = {}
    try {
      response = await fetch(ordersUrl(order), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': order.key },
        body: JSON.stringify({ buyer: memory.buyer }),
        signal: AbortSignal.timeout(15_000),
      })
      answer = await response.json().catch(() => ({}))
    } catch {
      change(order, {
        state: 'retry',
        text: 'No answer came. Try again: your order keeps its key, so it cannot buy twice.',
      })
      return
    }
    decide(order, response, answer)
  }

  function decide(order, response, answer) {
    const waitMs = 1_000 * Math.max(1, Number(response.headers.get('Retry-After')) || 1)
    if (response.status === 202) {
      change(order, { state: 'accepted', text: 'Yours! Your order is on its way into the book.' })
      follow(order)
    } else if (response.status === 429) {
      change(order, {
        state: 'door',
        waitUntil: now + waitMs,
        text: 'It is crowded at the door. Your place comes up in a moment.',
      })
    } else if (response.status === 503) {
      change(order, {
        state: 'retry',
        waitUntil: now + waitMs,
        text: 'A store is away for a moment. Try again: your order keeps its key, so it cannot buy twice.',
      })
    } else {
      refuse(order, answer.error, response.status)
    }
  }

  function refuse(order, reason, status) {
    const texts = {
      'sold-out': 'Sold out. The last unit went to somebody else.',
      'buyer-limit': 'You have your share of this sale already.',
      'not-open': 'The gate is still closed.',
      clash: 'Somebody else was quicker this time. Try again.',
    }
    const text = texts[reason] ?? `The order was refused (${reason ?? status}). Try again with a new one.`
    if (!(reason in texts)) order.key = memory.renewKey(order.saleId)
    change(order, { state: reason === 'sold-out' || reason === 'buyer-limit' ? 'refused' : 'none', text })
  }

  /** Listens until the order is in the database. The browser reconnects a cut stream by itself. */
  function follow(order) {
    const events = new EventSource(`${ordersUrl(order)}/${encodeURIComponent(order.key)}/events`)
    events.addEventListener('order', ({ data }) => {
      const { state } = JSON.parse(data)
      if (state === 'recorded') change(order, { state, text: 'Yours! Your order is in the book.' })
      if (state === 'rejected')
        change(order, { state, text: 'Your order could not be recorded, and its unit went back.' })
      if (state !== 'accepted') events.close()
    })
    events.addEventListener('error', () => {
      if (events.readyState === EventSource.CLOSED) setTimeout(() => void recall(order), 1_000)
    })
  }

  /** What became of an order that was sent before. */
  async function recall(order) {
    try {
      const response = await fetch(`${ordersUrl(order)}/${encodeURIComponent(order.key)}`)
      if (response.status === 404) return
      const { state } = await response.json()
      if (state === 'accepted') follow(order)
      change(order, { state, text: state === 'rejected' ? 'Your order could not be recorded.' : 'This one is yours.' })
    } catch {
      // Buying again with the same key gives the same answer.
    }
  }

  /** What the gate shows: a state for its looks, a label, and whether it can be pressed. */
  function gateOf(order) {
    if (order.state === 'buying') return ['busy', 'Buying…', false]
    if (order.state === 'accepted' || order.state === 'recorded') return ['yours', 'Yours!', false]
    const waitMs = order.waitUntil - now
    if (waitMs > 0) return ['wait', `Wait ${Math.ceil(waitMs / 1_000)} s`, false]
    if (order.state === 'retry') return ['retry', 'Try again with the same key', true]
    if (order.state === 'refused' && sale.state !== 'sold-out') return ['open', 'Try again', true]
    if (sale.state === 'sold-out') return ['closed', 'Sold out', false]
    if (sale.state === 'suspended') return ['closed', 'Held back for a check', false]
    const opensMs = sale.opensAtMs - now
    if (opensMs > 0) return ['closed', `Opens in ${clockText(opensMs)}`, false]
    return ['open', 'Buy one', true]
  }

  function render() {
    if (sale === undefined) return
    const order = orderOf(sale.id)
    const [look, label, enabled] = gateOf(order)
    byId('gate').dataset.state = look
    setText(button, label)
    button.disabled = !enabled
    setText(message, order.state === 'door' && order.waitUntil <= now ? 'The door is open again.' : order.text)
    const has = order.state === 'accepted' || order.state === 'recorded'
    byId('order').hidden = !has
    for (const step of byId('order').children) {
      const reached = step.dataset.step === 'accepted' || order.state === 'recorded'
      step.dataset.reached = reached
    }
    byId('order-id').hidden = !has
    if (has) setText(byId('order-id'), `Order ${order.key}`)
    byId('again').hidden = !((has || order.state === 'refused') && sale.state === 'open')
  }

  button.addEventListener('click', () => void buy(orderOf(sale.id)))
  byId('again').addEventListener('click', () => {
    memory.becomeAnother()
    orders.clear()
    render()
    button.focus()
  })

  return {
    show(next) {
      sale = next
      render()
    },
    tick(time) {
      now = time
      render()
    },
  }
}

/** Who buys, and the keys of this person's orders, kept in the browser where it allows that. */
function remembered() {
  const place = 'spillway-buyer'
  let memory
  try {
    memory = JSON.parse(localStorage.getItem(place))
  } catch {
    // A browser that keeps nothing: the memory then lasts as long as the page.
  }
  memory ??= { buyer: newId(), keys: {} }
  const save = () => {
    try {
      localStorage.setItem(place, JSON.stringify(memory))
    } catch {
      // See above.
    }
  }
  const keyOf = (saleId) => (memory.keys[saleId] ??= { id: newId(), sent: false })
  return {
    get buyer() {
      return memory.buyer
    },
    keyOf: (saleId) => keyOf(saleId).id,
    hasSent: (saleId) => keyOf(saleId).sent,
    sent(saleId) {
      keyOf(saleId).sent = true
      save()
    },
    renewKey(saleId) {
      delete memory.keys[saleId]
      save()
      return keyOf(saleId).id
    },
    becomeAnother() {
      memory = { buyer: newId(), keys: {} }
      save()
    },
  }
}
