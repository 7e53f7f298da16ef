import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import zookeeper, { type ACL } from 'node-zookeeper-client'
import { parseAddress } from '../services/address.js'
import { until } from './until.js'

/** An eye on a ZooKeeper, with a connection of its own that no fault touches. */
export interface Tree extends AsyncDisposable {
  /** The children of a node, in the order of their sequence; `undefined` if it is not there. */
  children(path: string): Promise<string[] | undefined>
  /** A node and all below it. */
  below(path: string): Promise<string[]>
  /** Creates a node; `mode` is one of `zookeeper.CreateMode`, and without `acl` it is open to all. */
  create(path: string, node?: { data?: string; mode?: number; acl?: ACL[] }): Promise<void>
  setAcl(path: string, acl: ACL[]): Promise<void>
  /** What a node holds. */
  data(path: string): Promise<string>
  /** The session that a node goes with, in hex; zeros for one that stays. */
  owner(path: string): Promise<string>
  remove(path: string): Promise<void>
  /** How many watches the server keeps for a node and all below it. */
  watches(path: string): Promise<number>
  /** How many sessions it keeps. */
  sessions(): Promise<number>
}

/** The rights that everybody has. */
export const anyone = (...rights: (keyof typeof zookeeper.Permission)[]): ACL[] => [
  new zookeeper.ACL(
    rights.reduce((all, right) => all | zookeeper.Permission[right], 0),
    new zookeeper.Id('world', 'anyone'),
  ),
]

const bySequence = (a: string, b: string): number => (a.slice(-10) < b.slice(-10) ? -1 : 1)

export const openTree = async (server: string): Promise<Tree> => {
  const { host, port } = parseAddress(server)
  const client = zookeeper.createClient(server, { sessionTimeout: 10_000 })
  let connected = false
  client.once('connected', () => (connected = true))
  client.connect()
  await until(() => connected, `a connection to ${server}`)
  const children = (path: string): Promise<string[] | undefined> =>
    new Promise((resolve, reject) => {
      client.getChildren(path, (error, names) => {
        if (!(error instanceof Error)) resolve([...names].sort(bySequence))
        else if ((error as { code?: number }).code === zookeeper.Exception.NO_NODE) resolve(undefined)
        else reject(error)
      })
    })
  const done = (start: (callback: (error: unknown) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => start((error) => (error instanceof Error ? reject(error) : resolve())))
  const below = async (path: string): Promise<string[]> => {
    const names = await children(path)
    if (!names) return []
    return [path, ...(await Promise.all(names.map((name) => below(`${path}/${name}`)))).flat()]
  }
  /** ZooKeeper writes a long answer in pieces, and closes the connection after the last. */
  const tell = async (word: string): Promise<string> => {
    const socket = connect({ host, port })
    socket.setTimeout(20_000, () => socket.destroy(new Error(`${server} has not answered ${word} within 20 s`)))
    socket.write(word)
    const answer = await text(socket)
    if (answer === '') throw new Error(`${server} closed without an answer to ${word}`)
    return answer
  }
  return {
    children,
    below,
    create: (path, { data = '', mode = zookeeper.CreateMode.PERSISTENT, acl = anyone('ALL') } = {}) =>
      done((callback) => client.create(path, Buffer.from(data), acl, mode, callback)),
    setAcl: (path, acl) => done((callback) => client.setACL(path, acl, callback)),
    data: (path) =>
      new Promise((resolve, reject) =>
        client.getData(path, (error, data) => (error instanceof Error ? reject(error) : resolve(String(data)))),
      ),
    owner: (path) =>
      new Promise((resolve, reject) =>
        client.exists(path, (error, stat) => {
          if (error instanceof Error || !stat) reject(error instanceof Error ? error : new Error(`there is no ${path}`))
          else resolve(stat.ephemeralOwner.toString('hex'))
        }),
      ),
    remove: (path) => done((callback) => client.remove(path, callback)),
    watches: async (path) => {
      const watched = (await tell('wchp')).split(/^(?=\/)/m).filter((entry) => entry.startsWith(path))
      return watched.reduce((sum, entry) => sum + (entry.match(/^\t0x/gm)?.length ?? 0), 0)
    },
    sessions: async () => (await tell('dump')).match(/^\s+0x[0-9a-f]+$/gm)?.length ?? 0,
    [Symbol.asyncDispose]: async () => {
      // A client that connects when its server restarts may do so for ever, and never says that it was closed.
      const forAWhile = (holds: () => boolean): Promise<void> => until(holds, 'it', 3_000).catch(() => undefined)
      await forAWhile(() => client.getState() !== zookeeper.State.DISCONNECTED)
      let gone = false
      client.once('disconnected', () => (gone = true))
      client.close()
      await forAWhile(() => gone)
    },
  }
}
