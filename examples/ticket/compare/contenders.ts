import { setTimeout as sleep } from 'node:timers/promises'
import { createDatabase } from '../../../test/services/index.js'
import { projectPath } from '../../shared/files.js'
import type { Contender } from './programs.js'

interface Setting {
  readonly redis: string
  readonly kafka: string
  readonly mysql: string
  /** Ticketing servers of ours: processes that answer requests. */
  readonly servers: number
  /** The document's server, built. */
  readonly documentServer: string
}

const settleMs = 600_000
const lookMs = 500

/** More than its part for each process, as in the document: 10 × 120 for 1,000. */
const localShare = (tickets: number, processes: number): number => Math.ceil((1.2 * tickets) / processes)

/** Waits until the service has written so many orders into its database. */
async function written(url: string, accepted: number): Promise<void> {
  const endsAt = performance.now() + settleMs
  let orders = 0
  while (performance.now() < endsAt) {
    const text = await (await fetch(`${url}/metrics`)).text()
    orders = Number(/^ticket_orders_in_database (\d+)/m.exec(text)?.[1] ?? 0)
    if (orders >= accepted) return
    await sleep(lookMs)
  }
  throw new Error(`of ${accepted} accepted orders ${orders} were in the database after ${settleMs / 1_000} s`)
}

/** Our servers and the document's, the ticket service first. */
export function contenders({ redis, kafka, mysql, servers, documentServer }: Setting): readonly Contender[] {
  const program = (name: string): string => projectPath('build', 'examples', 'ticket', `${name}.js`)
  const document: Contender['command'] = async ({ name, tickets }) => [
    documentServer,
    ...['-redis', new URL(redis).host, '-key', name, '-total', `${tickets}`, '-local', `${localShare(tickets, 1)}`],
  ]
  return [
    {
      name: 'ours',
      about: `the ticket service on the full stack, ${servers} ticketing servers and an order service: requests are validated against schemas, and each order is in Kafka before it is answered`,
      command: async ({ name, tickets }) => [
        ...[process.execPath, program('main'), '--stack', '--port', '0', '--redis', redis, '--kafka', kafka],
        ...['--mysql', await createDatabase({ url: mysql }, name), '--name', name],
        ...['--servers', `${servers}`, '--tickets', `${tickets}`, '--room', 'none'],
      ],
      path: '/shows/first/orders',
      settled: written,
    },
    {
      name: 'ours, as little as the document’s',
      about: `createStock with a gate behind Fastify, ${servers} processes: no schemas and no queue`,
      command: async ({ name, tickets }) => [
        ...[process.execPath, program('compare-server'), '--redis', redis, '--name', name],
        ...['--tickets', `${tickets}`, '--workers', `${servers}`, '--gate', `${localShare(tickets, servers)}`],
      ],
      path: '/grab',
    },
    {
      name: 'node:http alone',
      about: `a count in memory behind node:http, ${servers} processes: no stock, and nothing is checked`,
      command: async ({ tickets }) => [
        ...[process.execPath, program('compare-server'), '--http-only'],
        ...['--tickets', `${tickets}`, '--workers', `${servers}`],
      ],
      path: '/grab',
    },
    {
      name: 'document',
      about: 'Hertz, local stock, then one Lua call per order over 64 connections, one process',
      command: document,
      path: '/grab',
    },
    {
      name: 'document, one at a time',
      about: 'the same under one lock around both stocks, as the document’s program has it',
      command: async (show) => [...(await document(show)), '-one-at-a-time'],
      path: '/grab',
    },
  ]
}
