import { button, byId, centsIn, element, money, newKey, setText, shownName } from './dom.js'
import { request } from './journal.js'

const notes = [500, 1_000, 2_000, 5_000, 10_000, 20_000]
const attempts = 5

/** Takes the money for a cart, and shows the receipt. `onSold` and `onCart` are told what became of it. */
export function createCheckout({ onSold, onCart }) {
  const dialog = byId('pay-dialog')
  const tendered = byId('tendered')
  const message = byId('pay-message')
  let cart
  /** One key for a cart until its sale has an answer, so that asking again cannot sell twice. */
  let key
  let asked = false

  const method = () => new FormData(byId('pay-form')).get('method')
  const handedOver = () => (method() === 'card' ? cart.totalCents : centsIn(tendered.value))

  function render() {
    const cents = handedOver()
    const enough = cents !== undefined && cents >= cart.totalCents
    byId('cash').hidden = method() === 'card'
    const short = cents !== undefined && !enough
    setText(byId('change-label'), short ? 'Still missing' : 'Change')
    setText(byId('change'), cents === undefined ? '–' : money(Math.abs(cents - cart.totalCents)))
    byId('take').disabled = !enough
  }

  function open(next) {
    if (!asked || cart.version !== next.version) {
      key = newKey()
      asked = false
    }
    cart = next
    setText(byId('due'), money(cart.totalCents))
    setText(message, '')
    tendered.value = (cart.totalCents / 100).toFixed(2)
    const offered = notes.filter((note) => note > cart.totalCents).slice(0, 4)
    const give = (cents) => () => {
      tendered.value = (cents / 100).toFixed(2)
      render()
    }
    byId('notes').replaceChildren(
      button('quiet', 'Exactly', 'Exactly', give(cart.totalCents)),
      ...offered.map((note) => button('quiet', money(note), money(note).replace('.00', ''), give(note))),
    )
    render()
    if (!dialog.open) dialog.showModal()
    // Where there is a keyboard the sum can be typed at once; on a phone one would cover the dialog.
    if (method() === 'cash' && matchMedia('(pointer: fine)').matches) tendered.select()
  }

  /** A sale without an answer may have been one. */
  async function leave() {
    dialog.close()
    if (!asked) return
    const answer = await request('GET', `receipts/${key}`)
    if (answer?.status === 200 && asked) decide(answer)
  }

  async function take() {
    const cash = method() === 'cash' ? { tenderedCents: handedOver() } : {}
    const body = { totalCents: cart.totalCents, method: method(), ...cash }
    byId('take').disabled = true
    asked = true
    const mine = key
    for (let attempt = 1; attempt <= attempts; attempt++) {
      setText(message, attempt === 1 ? 'One moment…' : 'No answer yet. Asking again; nothing is sold twice.')
      const answer = await request('POST', 'cart/checkout', body, key)
      if (mine !== key || !asked) return
      if (answer !== undefined && answer.status < 500) return decide(answer)
      await new Promise((resolve) => setTimeout(resolve, 500 * attempt))
    }
    setText(message, 'The till does not answer. Take the money again: nothing is sold twice.')
    render()
  }

  function decide({ status, body }) {
    asked = false
    if (status === 200 || status === 201) {
      dialog.close()
      showReceipt(body)
      onSold(body)
      return
    }
    setText(message, body.message)
    if (body.cart) {
      onCart(body.cart)
      if (body.error === 'cart-changed' && body.cart.lines.length > 0) {
        open(body.cart)
        setText(message, 'The cart has changed: this is the total now.')
        return
      }
    }
    render()
  }

  byId('pay-form').addEventListener('submit', (event) => {
    event.preventDefault()
    if (!byId('take').disabled) void take()
  })
  byId('pay-form').addEventListener('input', render)
  byId('pay-cancel').addEventListener('click', () => void leave())
  byId('print').addEventListener('click', () => print())
  byId('next').addEventListener('click', () => byId('receipt-dialog').close())

  return { open }
}

const when = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' })

function showReceipt({ id, atMs, lines, units, totalCents, method, tenderedCents, changeCents }) {
  setText(byId('receipt-when'), when.format(atMs))
  const row = (className, left, right) => {
    const made = element('tr', className, element('th', '', ...left), element('td', '', right))
    made.firstChild.scope = 'row'
    return made
  }
  byId('receipt-lines').replaceChildren(
    ...lines.map(({ name, quantity, priceCents, amountCents }) =>
      row('', [shownName(name), element('small', '', `${quantity} × ${money(priceCents)}`)], money(amountCents)),
    ),
  )
  const sums = [row('receipt-total', [`Total, ${units} ${units === 1 ? 'item' : 'items'}`], money(totalCents))]
  sums.push(row('', [method === 'card' ? 'Card' : 'Cash'], money(tenderedCents)))
  if (method === 'cash') sums.push(row('', ['Change'], money(changeCents)))
  byId('receipt-sums').replaceChildren(...sums)
  setText(byId('receipt-id'), `Receipt ${id}`)
  byId('receipt-dialog').showModal()
  byId('next').focus()
}
