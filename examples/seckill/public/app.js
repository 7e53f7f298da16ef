import { createBuyer } from './buyer.js'
import { connectLive } from './shared/live.js'
import { createOperator } from './operator.js'
import { createReservoir } from './reservoir.js'
import { byId, setText } from './shared/dom.js'

const picker = byId('sales')
const reservoir = createReservoir()
const buyer = createBuyer()
const operator = createOperator({ shownSale: () => shownId, onRush: show })

let sales = []
/** The sale on show, and whether a person picked it. */
let shownId
let picked = false
let followedRush

function show(id) {
  shownId = id
  render()
}

picker.addEventListener('change', () => {
  picked = true
  show(picker.value)
})

function chooseSale(rush) {
  // A rush is worth watching, whoever started it; a person may still look elsewhere afterwards.
  if (rush !== null && rush.id !== followedRush) {
    followedRush = rush.id
    if (rush.state === 'running') {
      shownId = rush.saleId
      return
    }
  }
  if (picked && sales.some(({ id }) => id === shownId)) return
  if (sales.some(({ id, state }) => id === shownId && (state !== 'sold-out' || shownId === rush?.saleId))) return
  const next = sales.find(({ state }) => state === 'open') ?? sales.find(({ state }) => state === 'upcoming')
  shownId = (next ?? sales.find(({ id }) => id === shownId) ?? sales.at(-1))?.id
}

function renderPicker() {
  const stale = picker.options.length !== sales.length || sales.some(({ id }, at) => picker.options[at].value !== id)
  if (stale) picker.replaceChildren(...sales.map(({ id, title }) => new Option(title, id)))
  if (shownId !== undefined) picker.value = shownId
  picker.disabled = sales.length < 2
}

function render() {
  renderPicker()
  const sale = sales.find(({ id }) => id === shownId)
  if (sale === undefined) return
  reservoir.show(sale)
  buyer.show(sale)
}

const live = connectLive({
  onSnapshot(snapshot) {
    sales = snapshot.sales
    chooseSale(snapshot.rush)
    render()
    operator.update(
      snapshot,
      sales.find(({ id }) => id === shownId),
    )
  },
  onConnection(state, text) {
    const element = byId('connection')
    element.dataset.state = state
    setText(element, text)
  },
})

// The countdown and the door's waiting time go on between two snapshots.
setInterval(() => {
  reservoir.tick(live.now())
  buyer.tick(live.now())
}, 200)
