import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { projectPath } from '../../shared/files.js'

/** A door that never refuses: what is compared is what comes after it. */
const door = { capacity: 1_000_000_000, refill: 1_000_000, perMs: 1, initial: 1_000_000_000 }

/** The service's program, running. Disposing ends it in order. */
export interface RunningService extends AsyncDisposable {
  readonly url: string
  openSale(quantity: number): Promise<string>
  /** Orders that came to that end so far, by the service's own count. */
  counted(outcome: string): Promise<number>
}

export async function startService(args: readonly string[]): Promise<RunningService> {
  const program = [projectPath('build', 'examples', 'seckill', 'main.js'), '--port', '0', ...args]
  const child = spawn(process.execPath, program, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const url = await new Promise<string>((resolve, reject) => {
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const found = /listening on (http:\S+)/.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    void ended.then(() => reject(new Error('the service ended before it listened')))
  })
  return {
    url,
    async openSale(quantity) {
      const response = await fetch(`${url}/sales`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ title: `${quantity.toLocaleString('en')} units to compare`, quantity, door }),
      })
      if (response.status !== 201) throw new Error(`opening a sale answered ${response.status}`)
      return ((await response.json()) as { id: string }).id
    },
    async counted(outcome) {
      const text = await (await fetch(`${url}/metrics`)).text()
      return Number(new RegExp(`^seckill_orders_total\\{outcome="${outcome}"\\} (\\d+)`, 'm').exec(text)?.[1])
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await ended
    },
  }
}
