import { expect, it } from 'vitest'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess } from '../support/line-process.js'

describeWithServices('a process that closes no limiter', ['redis'], ({ redis }) => {
  const program = suiteProgram(new URL('./ratelimit-ends.ts', import.meta.url))

  it.concurrent.each<[scenario: string, printed: string[]]>([
    ['a bucket in memory', ['1', 'done']],
    ['a reserved place in the line', ['due later', 'done']],
    // A call that somebody waits for keeps the process alive.
    ['a wait', ['done', 'waited']],
    ['a leased block whose client is disconnected', ['1', 'done']],
    ['a leased block whose client has quit', ['1', 'done']],
  ])('ends by itself: %s', async (scenario, printed) => {
    await using child = startLineProcess(process.execPath, [program.path, scenario, redis.url, uniqueName('ends')])
    expect(await child.ended).toBe(0)
    expect(child.lines).toEqual(printed)
  })
})
