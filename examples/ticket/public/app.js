import { createBuyer } from './buyer.js'
import { createOperator } from './operator.js'
import { byId, count, setText } from './shared/dom.js'
import { connectLive } from './shared/live.js'

const picker = byId('shows')
const buyer = createBuyer({ now: () => live.now() })
const operator = createOperator({
  onCreated(id) {
    wanted = id
    choose()
  },
})

let shows = []
/** The show that a person picked or created, if any. */
let wanted
let shownId

function choose() {
  const has = (id) => shows.some((show) => show.id === id)
  if (wanted !== undefined && has(wanted)) shownId = wanted
  else if (!has(shownId)) shownId = (shows.find(({ state }) => state === 'open') ?? shows[0])?.id
}

picker.addEventListener('change', () => {
  wanted = picker.value
  choose()
  render()
})

function render() {
  const stale = picker.options.length !== shows.length || shows.some(({ id }, at) => picker.options[at].value !== id)
  if (stale) picker.replaceChildren(...shows.map(({ id, title }) => new Option(title, id)))
  picker.disabled = shows.length < 2
  const show = shows.find(({ id }) => id === shownId)
  if (show === undefined) return
  picker.value = shownId
  showSeats(show)
  buyer.show(show)
}

function showSeats({ title, total, available, held, sold }) {
  setText(byId('show-title'), title)
  const left = byId('left')
  setText(left, count(available))
  setText(byId('left-text'), available === 1 ? 'ticket left' : 'tickets left')
  left.setAttribute('aria-valuemax', total)
  left.setAttribute('aria-valuenow', available)
  left.setAttribute('aria-valuetext', `${count(available)} of ${count(total)}`)
  for (const [id, value] of Object.entries({ available, held, sold })) setText(byId(id), count(value))
  const bar = byId('bar')
  bar.style.setProperty('--sold-part', `${(100 * sold) / total}%`)
  bar.style.setProperty('--held-part', `${(100 * held) / total}%`)
}

const live = connectLive({
  onSnapshot(snapshot) {
    shows = snapshot.shows
    choose()
    render()
    operator.update(
      snapshot,
      shows.find(({ id }) => id === shownId),
    )
  },
  onConnection(state, text) {
    const element = byId('connection')
    element.dataset.state = state
    setText(element, text)
  },
})

// Countdowns go on between two snapshots.
setInterval(() => buyer.tick(), 200)
