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

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
export const count = (value) => whole.format(value ?? 0)

const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
export const compact = (value) => short.format(value)
