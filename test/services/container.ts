import { existsSync } from 'node:fs'
import { request } from 'node:http'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import { findProgram } from './apt.js'
import { startGuard } from './guard.js'
import { freePort, sleep } from './net.js'
import { progress } from './resolve.js'
import type { Running } from './service.js'

export interface ContainerOptions {
  readonly image: string
  /** Ports of the container. */
  readonly ports: readonly number[]
  /** The ports of this machine they appear on. @defaultValue free ones */
  readonly hostPorts?: readonly number[]
  readonly command?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly ready: (host: string, ports: readonly number[]) => Promise<unknown>
  /** @defaultValue 120_000 */
  readonly startMs?: number
}

export interface ContainerHandle {
  readonly host: string
  readonly ports: readonly number[]
  readonly running: Running
  /** Runs a program inside; throws when it fails. */
  exec(command: readonly string[]): Promise<string>
}

const sockets = (): string[] => [
  '/var/run/docker.sock',
  ...(process.env['XDG_RUNTIME_DIR'] ? [join(process.env['XDG_RUNTIME_DIR'], 'docker.sock')] : []),
  join(homedir(), '.docker/run/docker.sock'),
  join(homedir(), '.docker/desktop/docker.sock'),
  `/run/user/${userInfo().uid}/docker.sock`,
]

const pings = (socketPath: string): Promise<boolean> =>
  new Promise((resolve) => {
    const ping = request({ socketPath, path: '/_ping', timeout: 3_000 }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    ping.once('timeout', () => ping.destroy())
    ping.once('error', () => resolve(false))
    ping.end()
  })

/** Where a Docker engine answers, if one does; `address` is undefined when only testcontainers’ own file knows. */
export const findEngine = async (among: readonly string[] = sockets()) => {
  const configured = process.env['DOCKER_HOST']
  if (configured || existsSync(join(homedir(), '.testcontainers.properties'))) return { address: configured }
  for (const socket of among) {
    if (existsSync(socket) && (await pings(socket))) return { address: `unix://${socket}` }
  }
  return undefined
}

// A client without an engine is common, and asking testcontainers would load all of it to learn so.
let engine: ReturnType<typeof findEngine> | undefined
const failures = new Map<string, string>()

/** Starts an image on free ports of this machine. Throws where no engine answers or the image cannot be had. */
export const startContainer = async (options: ContainerOptions): Promise<ContainerHandle> => {
  const { image } = options
  const found = await (engine ??= findEngine())
  if (!found) throw new Error('no Docker engine answers')
  const known = failures.get(image)
  if (known) throw new Error(known)
  try {
    return await start(options, found.address)
  } catch (error) {
    const reason = `${image} did not start: ${error instanceof Error ? error.message : String(error)}`
    failures.set(image, reason)
    throw new Error(reason)
  }
}

const start = async (options: ContainerOptions, address: string | undefined): Promise<ContainerHandle> => {
  const { image, ports, hostPorts, command, environment = {}, ready, startMs = 120_000 } = options
  // Our guard does what the reaper would, and needs no image of its own.
  const docker = await findProgram('docker')
  if (docker) process.env['TESTCONTAINERS_RYUK_DISABLED'] ??= 'true'
  const { GenericContainer, Wait, getContainerRuntimeClient } = await import('testcontainers')
  const client = await getContainerRuntimeClient()
  const slow = setTimeout(() => progress(`starting ${image}; the image may have to be pulled`), 2_000)
  try {
    const published: { container: number; host: number }[] = []
    for (const [index, container] of ports.entries()) {
      published.push({ container, host: hostPorts?.[index] ?? (await freePort()) })
    }
    const definition = new GenericContainer(image)
      .withExposedPorts(...published)
      .withEnvironment({ ...environment })
      .withStartupTimeout(startMs)
      // `ready` knows better than a look at the ports
      .withWaitStrategy(Wait.forSuccessfulCommand('true'))
    if (command) definition.withCommand([...command])
    const container = await definition.start()
    const guard = docker ? startGuard({ container: container.getId(), engine: address }) : undefined
    const host = container.getHost() === 'localhost' ? '127.0.0.1' : container.getHost()
    const inside = client.container.getById(container.getId())
    const state = async () => (await inside.inspect()).State
    const awaitReady = async (): Promise<void> => {
      const deadline = Date.now() + startMs
      for (;;) {
        try {
          await ready(host, mapped)
          return
        } catch (error) {
          if (Date.now() > deadline) throw error
          await sleep(50)
        }
      }
    }
    const stop = async (): Promise<void> => {
      if ((await state()).Paused) await inside.unpause()
      await container.stop({ remove: true, removeVolumes: true })
      await guard?.release()
    }
    const mapped = published.map(({ host }) => host)
    try {
      await awaitReady()
    } catch (error) {
      await stop()
      throw error
    }
    return {
      host,
      ports: mapped,
      exec: async (argv) => {
        const { exitCode, output } = await container.exec([...argv])
        if (exitCode !== 0) throw new Error(`${argv.join(' ')} ended with ${exitCode} in ${image}: ${output}`)
        return output
      },
      running: {
        stop,
        faults: {
          kill: () => inside.kill() as Promise<void>,
          pause: () => inside.pause() as Promise<void>,
          unpause: () => inside.unpause() as Promise<void>,
          restart: async () => {
            const { Paused: paused, Running: up } = await state()
            if (paused) await inside.unpause()
            await (up ? inside.restart({ t: 30 }) : inside.start())
            await awaitReady()
          },
        },
      },
    }
  } finally {
    clearTimeout(slow)
  }
}
