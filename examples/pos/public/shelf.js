import { bars } from './barcode.js'
import { byId, count, element, money, setText, shownName } from './dom.js'

const typingMs = 120
const retryMs = 1_000
const pageSize = 24
const products = (total) => (total === 1 ? '1 product' : `${count(total)} products`)

/**
 * The products: what was typed, one category of it, a page at a time. `onPick` is told which product was tapped or scanned,
 * `onUnknown` which code is nobody's.
 */
export function createShelf({ onPick, onUnknown }) {
  const text = byId('text')
  const labels = byId('labels')
  let category = ''
  let shown = []
  let total = 0
  /** Only the answer to the latest question counts. */
  let asked = 0
  let typing

  async function ask(offset) {
    const mine = ++asked
    const query = new URLSearchParams({ q: text.value, category, offset, limit: pageSize })
    const answer = await fetchJson(`products?${query}`, () => mine === asked)
    if (mine !== asked || !answer) return
    shown = offset === 0 ? answer.products : [...shown, ...answer.products]
    total = answer.total
    render(offset)
  }

  /** Asks again while the server has nothing to answer with. */
  async function fetchJson(path, stillWanted) {
    while (stillWanted()) {
      try {
        const response = await fetch(path, { signal: AbortSignal.timeout(10_000) })
        if (response.ok) return await response.json()
        if (response.status < 500) return undefined
        setText(byId('found'), 'The shelf is being filled. A moment…')
      } catch {
        setText(byId('found'), 'No answer. Trying again…')
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs))
    }
  }

  function labelOf(product) {
    const { name, priceCents, category, barcode } = product
    const [euros, cents] = (priceCents / 100).toFixed(2).split('.')
    const made = element(
      'button',
      'label',
      element('span', 'label-name', shownName(name)),
      element('span', 'label-foot', element('span', 'label-code', bars(barcode), barcode)),
      element('span', 'label-price', element('span', 'euros', euros), element('span', 'cents', cents)),
    )
    made.type = 'button'
    made.dataset.id = product.id
    made.style.setProperty('--hue', hueOf(category))
    made.setAttribute('aria-label', `Add ${name}, ${money(priceCents)}`)
    made.addEventListener('click', () => onPick(product))
    return element('li', '', made)
  }

  function render(from) {
    const made = shown.slice(from).map(labelOf)
    if (from === 0) labels.replaceChildren(...made)
    else labels.append(...made)
    const where = category === '' ? '' : ` in ${category}`
    const what = text.value.trim() === '' ? '' : ` for “${text.value.trim()}”`
    setText(byId('found'), total === 0 ? `Nothing${what}${where}.` : `${products(total)}${what}${where}`)
    byId('more').hidden = shown.length >= total
    // The first of the new labels takes the focus from a button that has moved on.
    if (from > 0) made[0]?.firstChild.focus()
  }

  function renderCategories(categories) {
    const all = [{ name: '', products: 0 }, ...categories]
    const made = all.map(({ name }) => {
      const chip = element('button', 'chip', name === '' ? 'All' : name)
      chip.type = 'button'
      if (name !== '') chip.style.setProperty('--hue', hueOf(name))
      chip.setAttribute('aria-pressed', name === category)
      chip.addEventListener('click', () => {
        category = name
        for (const other of made) other.firstChild.setAttribute('aria-pressed', other.firstChild === chip)
        void ask(0)
      })
      return element('li', '', chip)
    })
    byId('categories').replaceChildren(...made)
  }

  text.addEventListener('input', () => {
    clearTimeout(typing)
    typing = setTimeout(() => void ask(0), typingMs)
  })
  byId('search').addEventListener('submit', async (event) => {
    event.preventDefault()
    clearTimeout(typing)
    const typed = text.value.trim()
    if (/^\d{8,14}$/.test(typed)) return scanned(typed)
    await ask(0)
    // What is typed next takes the place of this.
    text.select()
    if (shown.length !== 1) return
    onPick(shown[0])
    text.value = ''
    void ask(0)
  })
  /** A scanner types a barcode and sends Enter; the next one may begin before the shop has answered. */
  async function scanned(code) {
    text.value = ''
    const answer = await fetchJson(`products?${new URLSearchParams({ q: code, limit: 1 })}`, () => true)
    if (answer?.total === 1) onPick(answer.products[0])
    else onUnknown(code)
    if (text.value === '') void ask(0)
  }
  byId('more').addEventListener('click', () => void ask(shown.length))
  addEventListener('keydown', (event) => {
    const { key, target, ctrlKey, metaKey, altKey } = event
    if (ctrlKey || metaKey || altKey || target.closest('input') || document.querySelector('dialog[open]')) return
    if (key === '/') event.preventDefault()
    // Whatever has the focus, what is typed or scanned is looked for; a space presses the button that has it.
    if (key.length === 1 && key !== ' ') text.focus()
  })

  void ask(0)
  void fetchJson('categories', () => true).then((answer) => renderCategories(answer?.categories ?? []))
}

/** A colour of its own for every category. */
function hueOf(category) {
  let hash = 7
  for (const letter of category) hash = (hash * 31 + letter.codePointAt(0)) % 997
  return hash % 360
}
