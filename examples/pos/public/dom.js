export const byId = (id) => document.getElementById(id)

/** Writes text only where it changed, so that screen readers are not told the same thing again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** An element with a class and children, which are elements or text. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...children)
  return made
}

/** A button that says what it does to those who do not see it. */
export function button(className, label, text, onClick) {
  const made = element('button', className, text)
  made.type = 'button'
  if (label !== text) made.setAttribute('aria-label', label)
  made.addEventListener('click', onClick)
  return made
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
export const count = (value) => whole.format(value ?? 0)
export const items = (units) => (units === 1 ? '1 item' : `${count(units)} items`)

const euros = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' })
export const money = (cents) => euros.format(cents / 100)

/** A product's name as it is shown: the unit stays on the line of its number. */
export const shownName = (name) => name.replace(/(\d) (\S+)$/, '$1\u00a0$2')

/** Cents of what somebody typed (`20`, `20.5`, `20,50`), or undefined. */
export function centsIn(text) {
  const [, whole, part = ''] = /^\s*€?\s*(\d{1,7})(?:[.,](\d{0,2}))?\s*$/.exec(text) ?? []
  return whole === undefined ? undefined : Number(whole) * 100 + Number(part.padEnd(2, '0'))
}

/** `crypto.randomUUID` is for pages served over HTTPS or from localhost; a phone on the same network has neither. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(12))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
