import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

/** Starts a load balancer, and waits until a server behind it answers 200 at `ready`. */
export async function startBalancer(
  command: string,
  args: readonly string[],
  ready: URL,
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<AsyncDisposable> {
  const balancer = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  balancer.stderr.on('data', (data: Buffer) => (complaints += data.toString()))
  const ended = once(balancer, 'exit')
  const isUp = async (): Promise<boolean> =>
    (await fetch(ready, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined))?.status === 200
  while (!(await isUp())) {
    if (balancer.exitCode !== null) throw new Error(`${command} ended: ${complaints}`)
    await sleep(100)
  }
  return {
    async [Symbol.asyncDispose]() {
      balancer.kill('SIGTERM')
      await ended
    },
  }
}
