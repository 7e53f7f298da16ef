import { onTestFinished } from 'vitest'

const events = ['warning', 'unhandledRejection', 'uncaughtException'] as const

/** The warnings of the process and what nobody caught, from now until the test ends. */
export function complaints(): unknown[] {
  const heard: unknown[] = []
  const note = (what: unknown): void => void heard.push(what)
  for (const event of events) process.on(event, note)
  onTestFinished(() => {
    for (const event of events) process.off(event, note)
  })
  return heard
}
