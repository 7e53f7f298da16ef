import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireProgram, run } from '../../../test/services/apt.js'

// Every request has an id of its own, unique over all loads.
const script = `
local threads = 0
function setup(thread) thread:set('number', threads); threads = threads + 1 end
local count = 0
function init(args)
  path = args[1]
  prefix = args[2] .. '-' .. number .. '-'
end
function request()
  count = count + 1
  local id = prefix .. count
  local headers = { ['Host'] = 'tickets', ['Content-Type'] = 'application/json', ['Idempotency-Key'] = id }
  return wrk.format('POST', path, headers, '{"buyer":"' .. id .. '"}')
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('figures %d %d %d %d %d %d\\n', summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
`

/** What wrk counted. Latencies in milliseconds. */
export interface Load {
  readonly requests: number
  readonly perSecond: number
  /** Answers of a status from 400 on: orders that were refused. */
  readonly refused: number
  /** Requests that were not answered. */
  readonly failed: number
  readonly p50: number
  readonly p99: number
}

/** Loads a server for so many seconds. */
export type Loader = (url: string, path: string, seconds: number, connections: number) => Promise<Load>

/** wrk, installed if that is possible. */
export async function prepareWrk(folder: string): Promise<Loader> {
  const wrk = await requireProgram('wrk', 'wrk')
  const file = join(folder, 'grab.lua')
  await writeFile(file, script)
  let runs = 0
  return async (url, path, seconds, connections) => {
    const load = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '30s', '-s', file, url]
    const output = await run(wrk, [...load, '--', path, `${Date.now()}-${++runs}`])
    const figures = /^figures (.*)$/m.exec(output)?.[1]?.split(' ').map(Number)
    if (figures?.length !== 6) throw new Error(`wrk printed no figures: ${output}`)
    const [requests, us, refused, failed, p50, p99] = figures as [number, number, number, number, number, number]
    return { requests, perSecond: requests / (us / 1e6), refused, failed, p50: p50 / 1_000, p99: p99 / 1_000 }
  }
}
