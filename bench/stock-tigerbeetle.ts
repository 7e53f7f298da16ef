import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import {
  AccountFlags,
  createClient,
  CreateTransferStatus,
  id,
  TransferFlags,
  type Client,
  type Transfer,
} from 'tigerbeetle-node'
import { findProgram, run } from '../test/services/apt.js'
import { startDaemon, temporaryFolder } from '../test/services/daemon.js'
import { freePort } from '../test/services/net.js'
import type { Seller } from './rush.js'

const plenty = 10n ** 15n
const none = { user_data_128: 0n, user_data_64: 0n, user_data_32: 0, ledger: 1, code: 1, flags: 0, timestamp: 0n }
const { linked, pending, post_pending_transfer: post } = TransferFlags

/** A TigerBeetle of one replica, and the ways to sell from it. */
export interface TigerBeetle extends AsyncDisposable {
  readonly version: string
  readonly selling: () => Promise<Seller>
  readonly holding: () => Promise<Seller>
  readonly baskets: () => Promise<Seller>
}

/**
 * Starts the `tigerbeetle` of the PATH; `undefined` if there is none. No package registry has the server (npm, PyPI and
 * Maven have clients): it is a download of its own.
 */
export async function startTigerBeetle(): Promise<TigerBeetle | undefined> {
  const program = await findProgram('tigerbeetle')
  if (program === undefined) return undefined
  const folder = await temporaryFolder('tigerbeetle')
  const [file, port] = [join(folder, '0_0.tigerbeetle'), await freePort()]
  const running = await startDaemon({
    name: 'tigerbeetle',
    folder,
    command: program,
    args: ['start', `--addresses=127.0.0.1:${port}`, '--cache-grid=512MiB', file],
    prepare: async () => {
      await run(program, ['format', '--cluster=0', '--replica=0', '--replica-count=1', file])
    },
    ready: async () => {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.destroy()
    },
  })
  const client = createClient({ cluster_id: 0n, replica_addresses: [`${port}`] })
  return {
    version: (await run(program, ['version'])).trim(),
    selling: async () => {
      const sell = await seller(client)
      return create(client, () => [sell(id())])
    },
    holding: async () => {
      const sell = await seller(client)
      const ask = async (): Promise<boolean> => {
        const hold = sell(id())
        if (!(await created(client, [{ ...hold, flags: pending, timeout: 60 }]))) return false
        return created(client, [{ ...hold, id: id(), pending_id: hold.id, flags: post }])
      }
      return { ask, expects: Boolean, close: async () => undefined }
    },
    baskets: async () => {
      const sellers = [await seller(client), await seller(client), await seller(client)]
      return create(client, () =>
        sellers.map((sell, i) => ({ ...sell(id()), flags: i < sellers.length - 1 ? linked : 0 })),
      )
    },
    async [Symbol.asyncDispose]() {
      client.destroy()
      await running.stop()
    },
  }
}

const created = async (client: Client, transfers: Transfer[]): Promise<boolean> =>
  (await client.createTransfers(transfers)).every(({ status }) => status === CreateTransferStatus.created)

const create = (client: Client, order: () => Transfer[]): Seller => ({
  ask: () => created(client, order()),
  expects: Boolean,
  close: async () => undefined,
})

/** An account with units that cannot be overdrawn, and transfers of one of them to the buyers'. */
async function seller(client: Client): Promise<(order: bigint) => Transfer> {
  const [source, stock, buyers] = [id(), id(), id()]
  const empty = { debits_pending: 0n, debits_posted: 0n, credits_pending: 0n, credits_posted: 0n, reserved: 0 }
  const account = { ...none, ...empty }
  await client.createAccounts([
    { ...account, id: source },
    { ...account, id: stock, flags: AccountFlags.debits_must_not_exceed_credits },
    { ...account, id: buyers },
  ])
  const transfer = { ...none, pending_id: 0n, timeout: 0 }
  const filled = { ...transfer, id: id(), debit_account_id: source, credit_account_id: stock, amount: plenty }
  if (!(await created(client, [filled]))) throw new Error('TigerBeetle refused to fill a stock')
  return (order) => ({ ...transfer, id: order, debit_account_id: stock, credit_account_id: buyers, amount: 1n })
}
