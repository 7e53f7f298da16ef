import { clockText } from './shared/clock.js'
import { byId, count, element, setText } from './shared/dom.js'

const GAUGE_MARKS = [1, 0.75, 0.5, 0.25, 0]

/** The water behind the gate: its level is the stock, and the product floats on it. */
export function createReservoir() {
  const reservoir = byId('reservoir')
  const level = byId('level')
  let sale

  const markGauge = (quantity) => {
    const marks = GAUGE_MARKS.map((share) => element('li', '', count(quantity * share)))
    byId('gauge').replaceChildren(...marks)
  }

  return {
    show(next) {
      if (next.quantity !== sale?.quantity) markGauge(next.quantity)
      sale = next
      reservoir.dataset.state = sale.state
      setText(byId('sale-title'), sale.title)
      const price = (sale.priceCents ?? 0) / 100
      setText(byId('price'), price === 0 ? '' : price.toLocaleString('en', { style: 'currency', currency: 'EUR' }))
      const limit = sale.limitPerBuyer
      setText(byId('limit'), `${count(sale.quantity)} in all${limit === undefined ? '' : `, ${limit} per person`}`)
      setText(level, count(sale.available))
      level.setAttribute('aria-valuemax', sale.quantity)
      level.setAttribute('aria-valuenow', sale.available)
      level.setAttribute('aria-valuetext', `${count(sale.available)} of ${count(sale.quantity)}`)
      reservoir.style.setProperty('--level', sale.quantity > 0 ? sale.available / sale.quantity : 0)
    },

    tick(now) {
      if (sale === undefined) return
      const leftMs = sale.opensAtMs - now
      const waiting = sale.state === 'upcoming' && leftMs > 0
      byId('countdown').hidden = !waiting
      if (waiting) setText(byId('clock'), clockText(leftMs))
    },
  }
}
