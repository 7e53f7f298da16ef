const SILENT_AFTER_MS = 3_000
const RETRY_MS = 2_000
const GIVE_UP_AFTER_MS = 10_000

/** The service's snapshots, for as long as the page is open. Says when it has lost the service and when it is back. */
export function connectLive({ onSnapshot, onConnection }) {
  let source
  let heardAt = Date.now()
  let dialledAt = heardAt
  // The service's clock decides when a sale opens, not the visitor's.
  let offsetMs = 0

  const connect = () => {
    source?.close()
    dialledAt = Date.now()
    source = new EventSource('live')
    source.addEventListener('snapshot', ({ data }) => {
      const snapshot = JSON.parse(data)
      heardAt = Date.now()
      offsetMs = snapshot.atMs - heardAt
      onConnection('live', 'Live')
      onSnapshot(snapshot)
    })
    source.addEventListener('error', ({ target }) => {
      onConnection('lost', 'Reconnecting…')
      // The browser comes back by itself, except after an answer that was no stream.
      if (target.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS)
    })
  }
  connect()

  setInterval(() => {
    const now = Date.now()
    if (now - heardAt < SILENT_AFTER_MS) return
    onConnection('lost', `Reconnecting… no news since ${new Date(heardAt).toLocaleTimeString('en-GB')}`)
    // A connection that has fallen silent says so to nobody.
    if (now - Math.max(heardAt, dialledAt) > GIVE_UP_AFTER_MS) connect()
  }, 1_000)

  return { now: () => Date.now() + offsetMs }
}
