import { createLedger } from './ledger.js'
import { byId, compact, count, element, setText } from './shared/dom.js'
import { createPlot } from './shared/plots.js'

const STRATEGIES = {
  stock: 'the stock: all orders of a trip in one atomic step',
  optimistic: 'optimistic: a version in the database, and whoever writes it first wins',
  'redis-lock': 'redis-lock: lock, read, decrement, unlock; one order at a time',
  'zookeeper-lock': 'zookeeper-lock: as under a lock in Redis, with the lock in ZooKeeper',
}

const OUTCOMES = [
  { key: 'accepted', label: 'Accepted', colour: '--good' },
  { key: 'soldOut', label: 'Sold out', colour: '--slate' },
  { key: 'clash', label: 'Clash', colour: '--enamel', rare: true },
  { key: 'door', label: 'At the door', colour: '--amber', rare: true },
  { key: 'replayed', label: 'Replayed', colour: '--water', rare: true },
  { key: 'buyerLimit', label: 'Buyer’s limit', colour: '--violet', rare: true },
  { key: 'notOpen', label: 'Not open', colour: '--olive', rare: true },
  { key: 'invalid', label: 'Invalid', colour: '--rust', rare: true },
  { key: 'unavailable', label: 'Store away', colour: '--bad', rare: true },
]

export function createOperator({ shownSale, onRush }) {
  const plots = {
    outcomes: createPlot('Answers per second', { lines: OUTCOMES, unit: '/s' }),
    latency: createPlot('Latency, ms', {
      unit: ' ms',
      lines: [
        { key: 'p50', label: 'p50', colour: '--water' },
        { key: 'p90', label: 'p90', colour: '--amber' },
        { key: 'p99', label: 'p99', colour: '--rust' },
      ],
    }),
    level: createPlot('Stock level', { area: true, lines: [{ key: 'available', label: 'Left', colour: '--water' }] }),
    lag: createPlot('Orders in the queue', {
      area: true,
      lines: [{ key: 'lag', label: 'Waiting', colour: '--amber' }],
    }),
    rows: createPlot('Orders in the database', {
      area: true,
      lines: [{ key: 'rows', label: 'Rows', colour: '--good' }],
    }),
  }
  byId('plots').prepend(...Object.values(plots).map(({ figure }) => figure))
  const totals = createTotals()
  const ledger = createLedger({ shownSale })
  const rush = createRush({ onRush, ledger })
  let last
  let plottedSale

  return {
    update(snapshot, sale) {
      const { atMs, outcomes, latencyMs, lag, rows } = snapshot
      // Totals fall when the service started again: its first snapshot is then a new beginning.
      const seconds = last === undefined ? 0 : (atMs - last.atMs) / 1_000
      const rates = {}
      for (const { key } of OUTCOMES) {
        rates[key] = seconds > 0 ? Math.max(0, outcomes[key] - last.outcomes[key]) / seconds : 0
      }
      last = snapshot
      if (sale?.id !== plottedSale) plots.level.clear()
      plottedSale = sale?.id
      plots.outcomes.add(atMs, rates)
      // A window without requests has no latency.
      plots.latency.add(atMs, latencyMs.max > 0 ? latencyMs : {})
      plots.level.add(atMs, { available: sale?.available })
      plots.lag.add(atMs, { lag })
      plots.rows.add(atMs, { rows })
      totals.show(snapshot)
      rush.show(snapshot.rush)
      setText(byId('strategy'), `Orders are decided by ${STRATEGIES[snapshot.strategy] ?? snapshot.strategy}.`)
      showWorkers(snapshot.workers)
    },
  }
}

function createTotals() {
  const figures = [
    ['Requests a second', ({ requestsPerSecond }) => compact(requestsPerSecond)],
    ['p99 now', ({ latencyMs }) => `${compact(latencyMs.p99)} ms`],
    ['Accepted', ({ outcomes }) => count(outcomes.accepted)],
    ['Refused', ({ outcomes: o }) => count(o.soldOut + o.clash + o.buyerLimit + o.notOpen)],
    ['Held at the door', ({ outcomes }) => count(outcomes.door)],
    ['Store away', ({ outcomes }) => count(outcomes.unavailable)],
    ['In the queue', ({ lag }) => count(lag)],
    ['In the database', ({ rows }) => count(rows)],
  ].map(([label, read]) => {
    const value = element('dd', '', '–')
    byId('totals').append(element('div', '', element('dt', '', label), value))
    return { value, read }
  })
  return {
    show(snapshot) {
      for (const { value, read } of figures) setText(value, read(snapshot))
    },
  }
}

function showWorkers(workers) {
  const texts = workers.map(({ role, pid }) => `${role} ${pid}`)
  const list = byId('workers')
  if (texts.join() === list.dataset.shown) return
  list.dataset.shown = texts.join()
  list.replaceChildren(...workers.map(({ role, pid }) => element('li', '', element('b', '', role), ` ${pid}`)))
}

function createRush({ onRush, ledger }) {
  const form = byId('rush')
  const start = byId('rush-start')
  let starting = false
  let running = false
  let auditedRush

  const say = (text, share) => {
    byId('rush-state').hidden = false
    setText(byId('rush-text'), text)
    if (share !== undefined) byId('rush-progress').value = share
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    starting = true
    start.disabled = true
    say('Opening a sale…', 0)
    try {
      const response = await fetch('rush', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({
          requests: byId('rush-requests').valueAsNumber,
          units: byId('rush-units').valueAsNumber,
        }),
      })
      const answer = await response.json()
      if (response.status === 409) say('A rush is under way already.')
      else if (!response.ok) say(`The rush did not start: ${answer.error ?? answer.title ?? response.status}`)
      else onRush(answer.saleId)
    } catch {
      say('The rush did not start: no answer from the service.')
    } finally {
      starting = false
      start.disabled = running
    }
  })

  return {
    show(rush) {
      if (rush === null || rush === undefined) return
      running = rush.state === 'running' || rush.state === 'auditing'
      start.disabled = starting || running
      if (starting) return
      const share = rush.requests > 0 ? rush.done / rush.requests : 0
      const texts = {
        running: `${count(rush.done)} of ${count(rush.requests)} answered, ${compact(rush.perSecond)} a second`,
        auditing: 'All answered. Waiting for the last order to reach the book…',
        done: `${count(rush.done)} orders answered. The audit is in.`,
        failed: `The rush failed: ${rush.error ?? 'see the audit'}`,
      }
      say(texts[rush.state], share)
      if (rush.audit && rush.id !== auditedRush) {
        ledger.show(rush.audit)
        if (!running) auditedRush = rush.id
      }
    },
  }
}
