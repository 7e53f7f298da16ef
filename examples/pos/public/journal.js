import { newKey } from './dom.js'

const answerMs = 8_000
const longestPauseMs = 4_000
const place = 'spillway-till'

/**
 * Everything that this tab did to the cart since the last sale, in order. Each change has a key and is sent, one at a time,
 * until it is answered: the same key counts once, so sending again is safe. If the cart comes back older than it must be
 * (a store that lost its last moments), all of it is sent again, and what is known already counts no second time.
 *
 * `onCart` is told the cart after every answer, `onState` how many changes wait and why, `onRefusal` what was refused.
 */
export function createJournal({ onCart, onState, onRefusal }) {
  const saved = load()
  let changes = saved.changes
  let version = saved.version
  let sending = false
  /** Only the latest look at the cart counts. */
  let looks = 0

  const waiting = () => changes.filter(({ done }) => !done)
  const save = () => store({ changes, version })

  /** `atLeast` is the lowest version that the cart can have if nothing was lost. */
  function accept(cart, atLeast = version) {
    if (cart.version < atLeast) for (const change of changes) change.done = false
    version = cart.version
    save()
    onCart(cart)
  }

  function pause(failures) {
    onState({ waiting: waiting().length, failing: true })
    return new Promise((resolve) => setTimeout(resolve, Math.min(250 * 2 ** failures, longestPauseMs)))
  }

  async function pump() {
    if (sending) return
    sending = true
    let failures = 0
    for (let [change] = waiting(); change; [change] = waiting()) {
      onState({ waiting: waiting().length, failing: failures > 0 })
      const answer = await send(change)
      if (answer === undefined || answer.status >= 500) {
        await pause(++failures)
        continue
      }
      failures = 0
      change.done = true
      if (answer.status === 200) {
        // A change that had no answer yet made a new version, now or when it was sent before.
        const atLeast = change.answered ? version : version + 1
        change.answered = true
        accept(answer.body, atLeast)
      } else {
        changes = changes.filter((other) => other !== change)
        save()
        onRefusal(answer.body)
        if (answer.body.cart) accept(answer.body.cart)
      }
    }
    sending = false
    onState({ waiting: 0, failing: false })
  }

  function push(change) {
    changes.push({ key: newKey(), done: false, ...change })
    save()
    void pump()
  }

  return {
    add: (productId, quantity) => push({ method: 'POST', path: 'cart/lines', body: { productId, quantity } }),
    set: (productId, quantity) =>
      push({ method: 'PUT', path: `cart/lines/${encodeURIComponent(productId)}`, body: { quantity } }),
    clear: () => push({ method: 'DELETE', path: 'cart' }),
    /**
     * Looks at the cart until it is seen, here or in the answer to a change: another tab may have changed it. Then sends what
     * was not answered before the page was loaded again.
     */
    async refresh() {
      const mine = ++looks
      for (let failures = 0; !sending;) {
        const answer = await request('GET', 'cart')
        if (sending || mine !== looks) return
        if (answer?.status === 200) {
          accept(answer.body)
          return pump()
        }
        await pause(++failures)
        if (mine !== looks) return
      }
    },
    get idle() {
      return !sending
    },
    /** The cart was sold: what was done to it is history. */
    sold() {
      changes = []
      version = 0
      save()
    },
  }
}

const send = ({ method, path, body, key }) => request(method, path, body, key)

/** Status and body, or undefined when no answer came. */
export async function request(method, path, body, key) {
  try {
    const response = await fetch(path, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(key === undefined ? {} : { 'Idempotency-Key': key }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(answerMs),
    })
    return { status: response.status, body: await response.json() }
  } catch {
    return undefined
  }
}

// A tab's own memory: it lasts over a reload. A browser that keeps nothing has it as long as the page.
function load() {
  try {
    const known = JSON.parse(sessionStorage.getItem(place))
    if (known !== null) return known
  } catch {
    // As if there were nothing.
  }
  return { changes: [], version: 0 }
}

function store(state) {
  try {
    sessionStorage.setItem(place, JSON.stringify(state))
  } catch {
    // See above.
  }
}
