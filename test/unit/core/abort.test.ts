import { getEventListeners } from 'node:events'
import { expect, it } from 'vitest'
import { onAbort } from '../../../src/core/abort.js'

it('calls everyone once, in the order they came, through one listener', () => {
  const controller = new AbortController()
  const heard: string[] = []
  for (const name of ['a', 'b', 'c']) onAbort(controller.signal, () => heard.push(name))
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)
  controller.abort()
  controller.abort()
  expect(heard).toEqual(['a', 'b', 'c'])
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
})

it('forgets who took it back, and the signal with the last of them', () => {
  const controller = new AbortController()
  const heard: string[] = []
  const stops = ['a', 'b'].map((name) => onAbort(controller.signal, () => heard.push(name)))
  stops[0]?.()
  stops[0]?.()
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)
  stops[1]?.()
  expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  onAbort(controller.signal, () => heard.push('c'))
  stops[1]?.()
  controller.abort()
  expect(heard).toEqual(['c'])
})

it('does not call who takes it back while others are being called', () => {
  const controller = new AbortController()
  const heard: string[] = []
  onAbort(controller.signal, () => {
    heard.push('a')
    stop()
  })
  const stop = onAbort(controller.signal, () => heard.push('b'))
  controller.abort()
  expect(heard).toEqual(['a'])
})
