import { button, byId, element, items, money, setText, shownName } from './dom.js'

const sureMs = 4_000

/** The cart on paper. `journal` carries out what is asked; `onSelect` is told which line the keypad is for. */
export function createCart({ journal, onSelect }) {
  let cart = { version: 0, lines: [], units: 0, totalCents: 0 }
  let selected

  function select(productId) {
    selected = productId
    const line = cart.lines.find((one) => one.productId === productId)
    onSelect(line)
    for (const row of byId('lines').children) row.dataset.selected = row.dataset.id === productId
  }

  function rowOf(line) {
    const { productId, name, quantity, priceCents, amountCents, available } = line
    const row = element(
      'li',
      '',
      button('line-name', `Set the quantity of ${name}`, shownName(name), () =>
        select(selected === productId ? undefined : productId),
      ),
      element('span', 'line-amount', available ? money(amountCents) : 'not in the shop'),
      element(
        'span',
        'line-quantity',
        button('step', `One less of ${name}`, '−', () => journal.add(productId, -1)),
        element('span', 'line-count', `${quantity} × ${money(priceCents)}`),
        button('step', `One more of ${name}`, '+', () => journal.add(productId, 1)),
      ),
    )
    row.dataset.id = productId
    row.dataset.selected = productId === selected
    row.dataset.available = available
    return row
  }

  /** Keeps the row, and with it the focus, of a line that did not change. */
  function renderLines() {
    const list = byId('lines')
    const old = new Map([...list.children].map((row) => [row.dataset.id, row]))
    const rows = cart.lines.map((line) => {
      const text = JSON.stringify(line)
      const known = old.get(line.productId)
      if (known?.dataset.line === text) return known
      const row = rowOf(line)
      row.dataset.line = text
      const focused = known?.contains(document.activeElement) && document.activeElement.getAttribute('aria-label')
      known?.replaceWith(row)
      if (focused) row.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus()
      return row
    })
    // Moving a row would take the focus from it, so only what is not in its place is put there.
    rows.forEach((row, at) => {
      if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null)
    })
    while (list.children.length > rows.length) list.lastChild.remove()
  }

  /** A cart is emptied by two taps, since one may be a slip. */
  const clear = byId('clear')
  let sure
  const unsure = () => {
    clearTimeout(sure)
    sure = undefined
    setText(clear, 'Empty it')
  }
  clear.addEventListener('click', () => {
    if (sure === undefined) {
      setText(clear, 'Really empty it?')
      sure = setTimeout(unsure, sureMs)
      return
    }
    unsure()
    journal.clear()
  })

  return {
    get current() {
      return cart
    },
    select,
    show(next) {
      const grown = next.lines.length > cart.lines.length
      cart = next
      renderLines()
      if (selected !== undefined && !cart.lines.some(({ productId }) => productId === selected)) select(undefined)
      byId('nothing').hidden = cart.lines.length > 0
      if (cart.lines.length === 0) unsure()
      clear.disabled = cart.lines.length === 0
      for (const id of ['units', 'show-units']) setText(byId(id), items(cart.units))
      for (const id of ['total', 'show-total']) setText(byId(id), money(cart.totalCents))
      if (grown) byId('lines').lastChild?.scrollIntoView({ block: 'nearest' })
    },
  }
}
