import { button, byId, setText } from './dom.js'

const keys = ['7', '8', '9', '4', '5', '6', '1', '2', '3', 'C', '0', '⏎']
const most = 999

/**
 * Digits, as on a till: without a line they say how many of the next product, with one how many of it there are.
 * `onSet` is told the quantity of the line.
 */
export function createKeypad({ onSet }) {
  let typed = ''
  let line

  const value = () => Number(typed)

  function render() {
    setText(byId('keypad-for'), line ? line.name : 'Next product')
    const shown = typed === '' ? (line ? line.quantity : 1) : value()
    setText(byId('keypad-value'), `× ${shown}`)
    byId('keypad-value').dataset.typed = typed !== ''
    enter.disabled = line === undefined || typed === ''
  }

  function press(key) {
    if (key === '⏎') {
      if (line !== undefined && typed !== '') onSet(line.productId, value())
      typed = ''
    } else if (key === 'C') {
      typed = ''
    } else if (Number(typed + key) <= most) {
      typed = `${Number(typed + key)}`
    }
    render()
  }

  const labels = { C: 'Clear the quantity', '⏎': 'Set the quantity' }
  const made = keys.map((key) => button('key', labels[key] ?? key, key, () => press(key)))
  const enter = made.at(-1)
  byId('keys').replaceChildren(...made)
  render()

  return {
    /** Which line the digits are for; undefined: the next product. */
    use(next) {
      if (next?.productId !== line?.productId) typed = ''
      line = next
      render()
    },
    /** How many of the product that is rung up now. */
    takeMultiplier() {
      const quantity = line === undefined && value() > 0 ? value() : 1
      typed = ''
      render()
      return quantity
    },
  }
}
