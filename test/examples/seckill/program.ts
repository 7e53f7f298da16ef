import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { projectPath } from '../../../examples/shared/files.js'

const built = (name: string): string => {
  const path = projectPath('build/examples/seckill', `${name}.js`)
  if (!existsSync(path)) throw new Error(`${name} is not built: run \`npm run build\` first`)
  return path
}

/** The service as a person starts it, embedded, with a database of its own. */
export async function startSeckill(...args: readonly string[]) {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-seckill-'))
  const program = spawn(process.execPath, [built('main'), '--port', '0', '--data', join(folder, 'sales.db'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(program, 'exit')
  let url: string | undefined
  for await (const line of createInterface({ input: program.stdout })) {
    url = /listening on (http:\S+)/.exec(line)?.[1]
    if (url !== undefined) break
  }
  if (url === undefined) throw new Error('the service ended before it listened')
  return {
    url,
    async [Symbol.asyncDispose]() {
      program.kill('SIGTERM')
      await exited
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The rush as a command: what it printed and its exit code. */
export async function runRush(...args: readonly string[]) {
  const program = spawn(process.execPath, [built('rush'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  program.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  program.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const [code] = (await once(program, 'close')) as [number]
  return { code, stdout, stderr }
}

export async function openSale(
  url: string,
  sale: { title: string; quantity: number; opensAtMs?: number },
): Promise<string> {
  const response = await fetch(new URL('/sales', url), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(sale),
  })
  if (response.status !== 201) throw new Error(`opening a sale answered ${response.status}: ${await response.text()}`)
  return ((await response.json()) as { id: string }).id
}
