import { createCart } from './cart.js'
import { byId, money, setText } from './dom.js'
import { createJournal } from './journal.js'
import { createKeypad } from './keypad.js'
import { createCheckout } from './pay.js'
import { watchServer } from './server.js'
import { createShelf } from './shelf.js'

const message = byId('message')
const payButton = byId('pay')
let waiting = 0

const journal = createJournal({
  onCart: showCart,
  onState({ waiting: left, failing }) {
    waiting = left
    if (failing) say('failing', `No answer. Trying again until there is one${left > 0 ? ` (${left} to send)` : ''}.`)
    else if (message.dataset.kind === 'failing') say('', '')
    renderPay()
  },
  onRefusal: ({ message: text }) => say('refused', text ?? 'That was refused.'),
})
const keypad = createKeypad({
  onSet(productId, quantity) {
    journal.set(productId, quantity)
    cart.select(undefined)
  },
})
const cart = createCart({ journal, onSelect: (line) => keypad.use(line) })
const checkout = createCheckout({
  onCart: showCart,
  onSold({ totalCents }) {
    journal.sold()
    say('sold', `Sold for ${money(totalCents)}.`)
    hideCart()
    void journal.refresh()
  },
})

function say(kind, text) {
  message.dataset.kind = kind
  setText(message, text)
  // On a phone the cart, and the message with it, is out of sight while products are looked for.
  const matters = kind === 'failing' || kind === 'refused'
  setText(byId('show-message'), matters ? text : '')
  byId('show-message').hidden = !matters
}

function showCart(next) {
  cart.show(next)
  renderPay()
}

function renderPay() {
  const { lines, totalCents } = cart.current
  const sellable = lines.length > 0 && lines.every(({ available }) => available)
  payButton.disabled = !sellable || waiting > 0
  setText(payButton, lines.length > 0 ? `Pay ${money(totalCents)}` : 'Pay')
}

function hideCart() {
  document.body.classList.remove('cart-open')
}

createShelf({
  onUnknown: (text) => say('refused', `Nothing is found for “${text}”.`),
  onPick({ id, name }) {
    const quantity = keypad.takeMultiplier()
    cart.select(undefined)
    say('added', `${quantity > 1 ? `${quantity} × ` : ''}${name}`)
    journal.add(id, quantity)
  },
})
watchServer()

payButton.addEventListener('click', () => checkout.open(cart.current))
byId('show-cart').addEventListener('click', () => {
  document.body.classList.add('cart-open')
  byId('cart-title').focus()
})
byId('hide-cart').addEventListener('click', () => {
  hideCart()
  byId('show-cart').focus()
})
// Another tab may have added something while this one was not looked at.
addEventListener('focus', () => void journal.refresh())
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void journal.refresh()
})
void journal.refresh()
