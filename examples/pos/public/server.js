import { byId, count, element } from './dom.js'

const silentAfterMs = 4_000
const retryMs = 2_000
const giveUpAfterMs = 10_000

/** What the server that answers says about itself, for as long as the page is open. */
export function watchServer() {
  let source
  let heardAt = Date.now()
  let dialledAt = heardAt

  const say = (state, text) => {
    const place = byId('connection')
    place.dataset.state = state
    if (place.textContent !== text) place.textContent = text
  }
  const connect = () => {
    source?.close()
    dialledAt = Date.now()
    source = new EventSource('live')
    source.addEventListener('snapshot', ({ data }) => {
      heardAt = Date.now()
      const snapshot = JSON.parse(data)
      say(snapshot.warm ? 'live' : 'connecting', snapshot.warm ? 'Open' : 'Opening…')
      show(snapshot)
    })
    source.addEventListener('error', ({ target }) => {
      say('lost', 'Reconnecting…')
      // The browser comes back by itself, except after an answer that was no stream.
      if (target.readyState === EventSource.CLOSED) setTimeout(connect, retryMs)
    })
  }
  connect()
  setInterval(() => {
    const now = Date.now()
    if (now - heardAt < silentAfterMs) return
    say('lost', 'Reconnecting…')
    // A connection that has fallen silent says so to nobody.
    if (now - Math.max(heardAt, dialledAt) > giveUpAfterMs) connect()
  }, 1_000)
}

function show({ pid, sessions, requestsPerSecond, latencyMs, products, shop, sessionReads, outcomes }) {
  const { hits, misses } = products
  const share = hits + misses === 0 ? 0 : (100 * hits) / (hits + misses)
  const facts = [
    ['Server', `${pid}, sessions in ${sessions}`],
    ['From the cache', `${count(hits)} (${share.toFixed(1)}%)`],
    ['Fetched from the shop', `${count(shop.products)} products in ${count(shop.answered)} requests`],
    ['Cut off by it', count(shop.failed)],
    ['Sessions read', count(sessionReads)],
    ['Answered', `${count(outcomes.done)}, ${count(requestsPerSecond)}/s`],
    ['99 of 100 within', `${latencyMs.p99.toFixed(1)} ms`],
  ]
  byId('server').replaceChildren(
    ...facts.map(([label, value]) => element('div', '', element('dt', '', label), element('dd', '', value))),
  )
}
