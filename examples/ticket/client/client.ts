import { runRush } from '../../shared/rush/rush.js'
import type { RushOptions, RushProgress, RushResult, RushTarget } from '../../shared/rush/types.js'

export const target: RushTarget = {
  collection: 'shows',
  command: 'npm run ticket:client',
  program: 'build/examples/ticket/client.js',
}

/** Grabs tickets of a show with as many requests as asked for, and waits for the service's own audit. */
export const grabTickets = (options: RushOptions, onProgress?: (progress: RushProgress) => void): Promise<RushResult> =>
  runRush(target, options, onProgress)
