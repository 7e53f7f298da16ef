/** `crypto.randomUUID` is for pages served over HTTPS or from localhost; a phone on the same network has neither. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
