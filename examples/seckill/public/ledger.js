import { byId, count, element, setText } from './shared/dom.js'

/** Four counts that different parts of the service keep apart. In a sale that held they are the same. */
const ENTRIES = [
  ['Sold, says the stock', 'sold'],
  ['In recorded orders', 'recordedUnits'],
  ['In rows of the database', 'rowUnits'],
  ['The stock went down by', 'stockDifference'],
]
const CHECK = 'M10 25l10 10 18-22'
const CROSS = 'M12 12l24 24M36 12L12 36'

export function createLedger({ shownSale }) {
  const place = byId('audit')
  const values = ENTRIES.map(([label, key]) => {
    const value = element('td', '', '–')
    const head = element('th', '', label)
    head.scope = 'row'
    byId('ledger').append(element('tr', '', head, value))
    return { key, value }
  })

  const show = (audit) => {
    for (const { key, value } of values) {
      setText(value, count(audit[key]))
      value.parentElement.dataset.off = audit.settled && audit[key] !== audit.sold
    }
    const state = !audit.settled ? 'pending' : audit.ok ? 'ok' : 'bad'
    place.dataset.state = state
    byId('mark').toggleAttribute('hidden', state === 'pending')
    byId('mark').firstElementChild.setAttribute('d', state === 'ok' ? CHECK : CROSS)
    setText(byId('verdict'), verdictOf(audit, state))
  }

  byId('audit-now').addEventListener('click', async () => {
    try {
      const response = await fetch(`sales/${encodeURIComponent(shownSale())}/audit`)
      if (response.ok) show(await response.json())
      else setText(byId('verdict'), `The books cannot be read now (${response.status}).`)
    } catch {
      setText(byId('verdict'), 'The books cannot be read now: no answer from the service.')
    }
  })

  return { show }
}

function verdictOf({ sold, total, lag, missingRows, extraRows }, state) {
  if (state === 'pending') return `Still writing: ${count(lag)} orders on their way into the book.`
  if (state === 'ok') return `The books balance: ${count(sold)} of ${count(total)} units, each sold once.`
  const parts = []
  if (missingRows > 0) parts.push(`orders without a row: ${count(missingRows)}`)
  if (extraRows > 0) parts.push(`rows without an order: ${count(extraRows)}`)
  return `The books do not balance${parts.length > 0 ? ` (${parts.join(', ')})` : ''}.`
}
