import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { projectPath } from '../../../examples/shared/files.js'
import { requireProgram } from '../../services/apt.js'
import { freePort } from '../../services/net.js'

/** Starts HAProxy with the configuration that ships, in front of two servers that are ready. */
export async function startHaproxy(one: string, two: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const command = await requireProgram('haproxy', 'haproxy')
  const listen = `127.0.0.1:${await freePort()}`
  const [TICKET_SERVER_1, TICKET_SERVER_2] = [one, two].map((url) => new URL(url).host)
  const proxy = spawn(command, ['-db', '-f', projectPath('examples', 'ticket', 'haproxy.cfg')], {
    env: { ...process.env, TICKET_LISTEN: listen, TICKET_SERVER_1, TICKET_SERVER_2 },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let complaints = ''
  proxy.stderr.on('data', (data: Buffer) => (complaints += data.toString()))
  const ended = once(proxy, 'exit')
  const url = `http://${listen}`
  const isUp = async (): Promise<boolean> =>
    (await fetch(`${url}/ready`, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined))?.status === 200
  while (!(await isUp())) {
    if (proxy.exitCode !== null) throw new Error(`HAProxy ended: ${complaints}`)
    await sleep(100)
  }
  return {
    url,
    async [Symbol.asyncDispose]() {
      proxy.kill('SIGTERM')
      await ended
    },
  }
}
