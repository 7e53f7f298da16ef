import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { backgroundReporter, seldom } from '../../../src/core/background.js'
import { channels, type BackgroundErrorEvent } from '../../../src/core/diagnostics.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'

/** The process warnings of the library while a test runs. */
function warnings(): string[] {
  const seen: string[] = []
  const listen = (warning: Error): void => void (warning.name === 'SpillwayWarning' && seen.push(warning.message))
  process.on('warning', listen)
  onTestFinished(() => void process.off('warning', listen))
  return seen
}

function heardErrors(): BackgroundErrorEvent[] {
  const events: BackgroundErrorEvent[] = []
  const listen = (event: BackgroundErrorEvent): void => void events.push(event)
  channels.backgroundError.subscribe(listen)
  onTestFinished(() => void channels.backgroundError.unsubscribe(listen))
  return events
}

const uncaught: unknown[] = []
const catchIt = (error: unknown): void => void uncaught.push(error)
process.on('unhandledRejection', catchIt)
process.on('uncaughtException', catchIt)
afterEach(() => expect(uncaught).toEqual([]))

describe('background errors', () => {
  it('go to the listener, each in a microtask of its own', async () => {
    const heard: unknown[] = []
    const report = backgroundReporter('cache', 'cache', (error) => heard.push(error))
    const seen = warnings()
    report('a')
    report('b')
    expect(heard).toEqual([])
    await settle()
    expect(heard).toEqual(['a', 'b'])
    expect(seen).toEqual([])
  })

  it.each([
    ['throws', () => { throw new Error('listener broke') }], // prettier-ignore
    ['rejects', () => Promise.reject(new Error('listener broke'))],
  ])('become a warning when the listener %s, and end nothing', async (_, listener) => {
    const report = backgroundReporter('cache', 'cache', listener)
    const seen = warnings()
    report(new Error('a'))
    await settle()
    expect(seen).toEqual(['cache: onBackgroundError failed: Error: listener broke'])
  })

  it('become a warning where nobody listens, each text once a minute', async () => {
    const clock = virtualClock()
    const report = backgroundReporter('cache', 'cache', undefined, clock)
    const seen = warnings()
    for (let i = 0; i < 100; i++) report(new Error('away'))
    report(new TypeError('wrong'))
    await clock.advance(59_999)
    report(new Error('away'))
    await clock.advance(1)
    report(new Error('away'))
    await settle()
    const away = 'cache: background error: Error: away'
    expect(seen).toEqual([away, 'cache: background error: TypeError: wrong', away])
  })

  it('that are met again and again are told once a minute, whoever listens', async () => {
    const clock = virtualClock()
    const heard: unknown[] = []
    const report = seldom((error) => heard.push(String(error)), clock)
    for (let i = 0; i < 100; i++) report(new Error('NOPERM'))
    report(new Error('OOM'))
    await clock.advance(59_999)
    report(new Error('NOPERM'))
    await clock.advance(1)
    report(new Error('NOPERM'))
    expect(heard).toEqual(['Error: NOPERM', 'Error: OOM', 'Error: NOPERM'])
  })

  it('tell what failed by its name, in the event and in the warning', async () => {
    const events = heardErrors()
    const seen = warnings()
    const error = new Error('away')
    backgroundReporter('cache', 'prices')(error)
    backgroundReporter('cache', 'users\n')(error)
    backgroundReporter('stock', 'stock')(error)
    await settle()
    expect(events).toEqual([
      { module: 'cache', name: 'prices', error },
      { module: 'cache', name: 'users\n', error },
      { module: 'stock', name: 'stock', error },
    ])
    expect(seen).toEqual([
      'cache "prices": background error: Error: away',
      'cache "users\\n": background error: Error: away',
      'stock: background error: Error: away',
    ])
  })

  it.each([
    [undefined, 'undefined'],
    ['text', 'text'],
    [Object.create(null), 'an error that cannot be shown'],
    [new Proxy({}, { get: () => { throw new Error('no') } }), 'an error that cannot be shown'], // prettier-ignore
  ])('may be anything', async (error, shown) => {
    const report = backgroundReporter('queue', 'queue')
    const seen = warnings()
    report(error)
    await settle()
    expect(seen).toEqual([`queue: background error: ${shown}`])
  })
})
