import { projectPath } from '../../shared/files.js'
import type { Contender } from './programs.js'

interface Setting {
  readonly redis: string
  readonly workers: number
  /** The document's server, built. */
  readonly documentServer: string
}

/** More than its part for each process, as in the document: 10 × 120 for 1,000. */
const localShare = (tickets: number, processes: number): number => Math.ceil((1.2 * tickets) / processes)

/** Our server and the document's, ours first. */
export function contenders({ redis, workers, documentServer }: Setting): readonly Contender[] {
  const document: Contender['command'] = ({ name, tickets }) => [
    documentServer,
    ...['-redis', new URL(redis).host, '-key', name, '-total', `${tickets}`, '-local', `${localShare(tickets, 1)}`],
  ]
  const ours: Contender['command'] = ({ name, tickets }) => [
    ...[process.execPath, projectPath('build', 'examples', 'ticket', 'compare-server.js')],
    ...['--redis', redis, '--name', name, '--tickets', `${tickets}`, '--workers', `${workers}`],
    ...['--gate', `${localShare(tickets, workers)}`],
  ]
  return [
    {
      name: 'ours',
      about: `createStock with a gate, orders read on the connection, all else by Fastify, ${workers} processes`,
      command: (show) => [...ours(show), '--direct'],
      path: '/grab',
    },
    { name: 'ours, Fastify', about: 'the same, all by Fastify', command: ours, path: '/grab' },
    {
      name: 'document',
      about: 'Hertz, local stock, then one Lua call per order over 64 connections, one process',
      command: document,
      path: '/grab',
    },
    {
      name: 'document, one at a time',
      about: 'the same under one lock around both stocks, as the document’s program has it',
      command: (show) => [...document(show), '-one-at-a-time'],
      path: '/grab',
    },
  ]
}
