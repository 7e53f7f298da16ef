import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { requireProgram } from '../test/services/apt.js'
import { mavenJars } from '../test/services/maven.js'

const redisson = { group: 'org.redisson', name: 'redisson', version: '3.52.0' }
const curator = { group: 'org.apache.curator', name: 'curator-recipes', version: '5.9.0' }

/**
 * Runs several processes that begin together. Each prints "ready", begins when a line comes in, and prints its outcome as
 * JSON.
 */
export async function runTogether<Outcome>(commands: readonly (readonly string[])[]): Promise<Outcome[]> {
  const running = commands.map(([program = '', ...args]) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    // The peers' loggers complain that nobody configured them; what matters is said when one ends too early.
    let complaints = ''
    child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()))
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const next = async (): Promise<string> => {
      const { value, done } = (await lines.next()) as { value?: string; done?: boolean }
      if (done || value === undefined) throw new Error(`${program} had no outcome: ${complaints}`)
      return value
    }
    return { child, next }
  })
  try {
    for (const { next } of running) while ((await next()) !== 'ready');
    for (const { child } of running) child.stdin.write('go\n')
    return await Promise.all(running.map(async ({ next }) => JSON.parse(await next()) as Outcome))
  } finally {
    for (const { child } of running) child.kill('SIGKILL')
  }
}

/** The command of a program of bench/java, which uses Redisson or Curator. */
export async function javaProgram(name: string): Promise<(...args: readonly string[]) => string[]> {
  const java = await requireProgram('default-jdk-headless', 'java')
  const jars = await mavenJars(redisson, [curator])
  const source = fileURLToPath(new URL(`../java/${name}.java`, import.meta.url))
  return (...args) => [java, '-cp', `${jars}/*`, source, ...args]
}
