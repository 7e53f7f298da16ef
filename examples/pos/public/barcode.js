// The bars of an EAN-13, seven modules to a digit. The first digit is not drawn: it chooses between the two alphabets of
// the left half. (ISO/IEC 15420)
const left = [
  '0001101',
  '0011001',
  '0010011',
  '0111101',
  '0100011',
  '0110001',
  '0101111',
  '0111011',
  '0110111',
  '0001011',
]
const invert = (code) => code.replace(/./g, (module) => (module === '1' ? '0' : '1'))
const reverse = (code) => [...code].reverse().join('')
const parities = ['LLLLLL', 'LLGLGG', 'LLGGLG', 'LLGGGL', 'LGLLGG', 'LGGLLG', 'LGGGLL', 'LGLGLG', 'LGLGGL', 'LGGLGL']

function modules(code) {
  const digits = [...code].map(Number)
  const parity = parities[digits[0]]
  const leftHalf = digits.slice(1, 7).map((digit, at) => {
    const plain = left[digit]
    return parity[at] === 'L' ? plain : reverse(invert(plain))
  })
  const rightHalf = digits.slice(7).map((digit) => invert(left[digit]))
  return ['101', ...leftHalf, '01010', ...rightHalf, '101'].join('')
}

/** The bars as a picture, or nothing for a code that is no EAN-13. */
export function bars(code) {
  if (!/^\d{13}$/.test(code)) return ''
  const path = [...modules(code).matchAll(/1+/g)].map(
    ({ index, 0: run }) => `M${index} 0h${run.length}v10h-${run.length}z`,
  )
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('viewBox', '0 0 95 10')
  svg.setAttribute('preserveAspectRatio', 'none')
  svg.setAttribute('aria-hidden', 'true')
  svg.setAttribute('class', 'bars')
  const drawn = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  drawn.setAttribute('d', path.join(''))
  svg.append(drawn)
  return svg
}
