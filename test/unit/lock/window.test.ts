import { expect, it } from 'vitest'
import { createWindow } from '../../../src/lock/window.js'

const settled = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

it('lets so many in, and the others in their order when those leave', async () => {
  const window = createWindow(2)
  const signal = () => new AbortController().signal
  const inside: number[] = []
  const enter = async (number: number): Promise<void> => {
    await window.enter(signal)
    inside.push(number)
  }
  const all = [1, 2, 3, 4, 5].map(enter)
  await settled()
  expect(inside).toEqual([1, 2])
  window.leave()
  await settled()
  expect(inside).toEqual([1, 2, 3])
  window.leave()
  window.leave()
  await Promise.all(all)
  expect(inside).toEqual([1, 2, 3, 4, 5])
  for (let left = 0; left < 2; left++) window.leave()
  expect([window.enter(signal), window.enter(signal)]).toEqual([undefined, undefined])
  expect(window.enter(signal), 'full again').toBeInstanceOf(Promise)
})

it('forgets who gave up waiting', async () => {
  const window = createWindow(1)
  const [gone, stays] = [new AbortController(), new AbortController()]
  expect(window.enter(() => gone.signal)).toBeUndefined()
  const first = window.enter(() => gone.signal)
  const second = window.enter(() => stays.signal)
  gone.abort(new Error('gave up'))
  await expect(first).rejects.toThrow('gave up')
  window.leave()
  await second
  window.leave()
  expect(window.enter(() => stays.signal)).toBeUndefined()
})
