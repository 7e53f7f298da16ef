import type { TestProject } from 'vitest/node'
import { startKeeper } from './shared.js'

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the keeper of shared servers listens. */
    readonly servicesPort: number
  }
}

/** Servers are started when a test first asks for one, and stopped when the run ends. */
export default async (project: TestProject): Promise<() => Promise<void>> => {
  const keeper = await startKeeper()
  project.provide('servicesPort', keeper.port)
  return async () => {
    await keeper.stop()
    const report = keeper.report()
    if (report.length > 0) process.stderr.write(`\n${report.join('\n')}\n`)
  }
}
