import { objectWith, shown } from './check.js'

/** The names of all options of a type. The compiler finds one that is missing, or one too many. */
export type Known<Options> = Readonly<Record<keyof Options, true>>

const none = Object.freeze({})
const clockMethods = ['nowMs', 'wallMs', 'after']
const signalMethods = ['throwIfAborted', 'addEventListener']

/**
 * The options of a call, none of which is unknown: a misspelt one would change nothing, and nobody would notice. None is
 * `null`, `clock` is a clock and `signal` a signal; other values are still to be checked. `undefined` is no options at
 * all.
 *
 * @throws TypeError that names the option, and those that there are.
 */
export function knownOptions<Options extends object>(
  call: string,
  options: unknown,
  known: Known<Options>,
): Partial<Options> {
  if (options === undefined) return none
  if (typeof options !== 'object' || options === null || Symbol.iterator in options) {
    throw new TypeError(`${call}: options must be an object with ${namesOf(known)}, got ${shown(options)}`)
  }
  for (const name in options) {
    if (!Object.hasOwn(known, name)) {
      throw new TypeError(`${call}: there is no option ${JSON.stringify(name)}, only ${namesOf(known)}`)
    }
    const value = (options as Readonly<Record<string, unknown>>)[name]
    if (value === null) throw new TypeError(`${call}: ${name} must not be null`)
    if (name === 'clock' && value !== undefined) objectWith('clock', value, clockMethods, 'a Clock')
    if (name === 'signal' && value !== undefined) objectWith('signal', value, signalMethods, 'an AbortSignal')
  }
  return options
}

/** The same where a call cannot do without options. */
export function requiredOptions<Options extends object>(
  call: string,
  options: unknown,
  known: Known<Options>,
): Partial<Options> {
  if (options !== undefined) return knownOptions(call, options, known)
  throw new TypeError(`${call}: options must be an object with ${namesOf(known)}, got undefined`)
}

const namesOf = (known: object): string => Object.keys(known).join(', ')
