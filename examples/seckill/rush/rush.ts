import { runRush } from '../../shared/rush/rush.js'
import type { RushOptions, RushProgress, RushResult, RushTarget } from '../../shared/rush/types.js'

export const target: RushTarget = {
  collection: 'sales',
  command: 'npm run rush',
  program: 'build/examples/seckill/rush.js',
}

/** A rush on the flash sale. */
export const rush = (options: RushOptions, onProgress?: (progress: RushProgress) => void): Promise<RushResult> =>
  runRush(target, options, onProgress)
