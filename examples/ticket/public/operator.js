import { byId, compact, count, element, setText } from './shared/dom.js'
import { createPlot } from './shared/plots.js'

const OUTCOMES = [
  { key: 'held', label: 'Held', colour: '--held' },
  { key: 'accepted', label: 'Sold in one step', colour: '--sold' },
  { key: 'paid', label: 'Paid', colour: '--good' },
  { key: 'inLine', label: 'Placed in line', colour: '--line', rare: true },
  { key: 'soldOut', label: 'Sold out', colour: '--slate', rare: true },
  { key: 'cancelled', label: 'Given back', colour: '--rust', rare: true },
  { key: 'refunded', label: 'Refunded', colour: '--violet', rare: true },
  { key: 'replayed', label: 'Replayed', colour: '--olive', rare: true },
  { key: 'unavailable', label: 'Store away', colour: '--bad', rare: true },
]

export function createOperator({ onCreated }) {
  const levels = createPlot('Tickets of this show', {
    lines: [
      { key: 'available', label: 'Available', colour: '--free' },
      { key: 'held', label: 'Held', colour: '--held' },
      { key: 'sold', label: 'Sold', colour: '--sold' },
    ],
  })
  const answers = createPlot('Answers per second', { lines: OUTCOMES, unit: '/s' })
  byId('plots').append(levels.figure, answers.figure)
  const showTotals = createTotals()
  createForm(onCreated)
  let last
  let plottedShow

  return {
    update(snapshot, show) {
      const { atMs, outcomes } = snapshot
      // Totals fall when the service started again: its first snapshot is then a new beginning.
      const seconds = last === undefined ? 0 : (atMs - last.atMs) / 1_000
      const rates = {}
      for (const { key } of OUTCOMES) {
        rates[key] = seconds > 0 ? Math.max(0, outcomes[key] - last.outcomes[key]) / seconds : 0
      }
      last = snapshot
      if (show?.id !== plottedShow) levels.clear()
      plottedShow = show?.id
      levels.add(atMs, show ?? {})
      answers.add(atMs, rates)
      showTotals(snapshot, show)
      showServers(snapshot.servers)
    },
  }
}

function createTotals() {
  const figures = [
    ['Tickets in all', (_, show) => count(show?.total)],
    ['Available', (_, show) => count(show?.available)],
    ['Held', (_, show) => count(show?.held)],
    ['Sold', (_, show) => count(show?.sold)],
    ['Requests a second', ({ requestsPerSecond }) => compact(requestsPerSecond)],
    ['p99 now', ({ latencyMs }) => `${compact(latencyMs.p99)} ms`],
    ['On their way to the database', ({ lag }) => count(lag)],
    ['Orders in the database', ({ rows }) => count(rows)],
  ].map(([label, read]) => {
    const value = element('dd', '', '–')
    byId('totals').append(element('div', '', element('dt', '', label), value))
    return { value, read }
  })
  return (snapshot, show) => {
    for (const { value, read } of figures) setText(value, read(snapshot, show))
  }
}

const roles = { all: 'the only process', web: 'ticketing server', office: 'order service' }

function showServers(servers) {
  const rows = servers.map(({ pid, role, requests, requestsPerSecond }) => {
    const head = element('th', '', `${roles[role] ?? role} `, element('small', '', String(pid)))
    head.scope = 'row'
    const answers = role !== 'office'
    const cells = [answers ? count(requestsPerSecond) : '–', answers ? count(requests) : '–']
    return element('tr', '', head, ...cells.map((text) => element('td', '', text)))
  })
  byId('servers').replaceChildren(...rows)
}

function createForm(onCreated) {
  const say = (text) => setText(byId('create-message'), text)
  byId('create').addEventListener('submit', async (event) => {
    event.preventDefault()
    const number = (id) => byId(id).valueAsNumber
    const perSecond = number('new-rate')
    const show = {
      title: byId('new-title').value,
      quantity: number('new-tickets'),
      priceCents: Math.round(number('new-price') * 100),
      holdMs: number('new-hold') * 1_000,
      limitPerBuyer: 4,
      ...(perSecond > 0 && { room: { perSecond, burst: Math.max(1, Math.ceil(perSecond)) } }),
    }
    try {
      const response = await fetch('shows', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(show),
      })
      const answer = await response.json()
      if (response.ok) {
        say('It is on sale.')
        onCreated(answer.id)
      } else say(`It was not created: ${answer.message ?? response.status}`)
    } catch {
      say('It was not created: no answer from the service.')
    }
  })
}
