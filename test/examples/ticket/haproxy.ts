import { projectPath } from '../../../examples/shared/files.js'
import { requireProgram } from '../../services/apt.js'
import { freePort } from '../../services/net.js'
import { startBalancer } from '../balancer.js'

/** Starts HAProxy with the configuration that ships, in front of two servers that are ready. */
export async function startHaproxy(one: string, two: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const command = await requireProgram('haproxy', 'haproxy')
  const listen = `127.0.0.1:${await freePort()}`
  const [TICKET_SERVER_1, TICKET_SERVER_2] = [one, two].map((url) => new URL(url).host)
  const url = `http://${listen}`
  const args = ['-db', '-f', projectPath('examples', 'ticket', 'haproxy.cfg')]
  const env = { TICKET_LISTEN: listen, TICKET_SERVER_1, TICKET_SERVER_2 }
  return { url, ...(await startBalancer(command, args, new URL('/ready', url), env)) }
}
