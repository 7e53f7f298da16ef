import { join } from 'node:path'
import { createConnection } from 'mysql2/promise'
import { findProgram, requireProgram, run } from './apt.js'
import { startContainer } from './container.js'
import { startDaemon, temporaryFolder, type User } from './daemon.js'
import { fromEnvironment } from './environment.js'
import { freePort } from './net.js'
import { firstThatStarts, retried } from './resolve.js'
import { asService, notOurs, type Running, type Service } from './service.js'

export interface MysqlOptions {
  /** Never the server that the environment names, so that the faults are there. @defaultValue false */
  readonly private?: boolean
}

/** A MySQL or a MariaDB. */
export interface MysqlService extends Service {
  /** `mysql://user:password@host:port/database`; the database exists. */
  readonly url: string
}

const DATABASE = 'spillway'

const query = async (url: string, sql: string): Promise<void> => {
  const connection = await createConnection({ uri: url, connectTimeout: 30_000 })
  try {
    await connection.query(sql)
  } finally {
    connection.destroy()
  }
}

/** Creates a database and answers with its URL. Each test takes one of its own. */
export const createDatabase = async (server: Pick<MysqlService, 'url'>, name: string): Promise<string> => {
  if (!/^\w{1,64}$/.test(name)) throw new RangeError(`a database's name is 1 to 64 letters and digits, got ${name}`)
  await query(server.url, `create database \`${name}\``)
  const url = new URL(server.url)
  url.pathname = `/${name}`
  return url.href
}

const ours = async (origin: 'container' | 'native', host: string, port: number, running: Running) => {
  const root = `mysql://root@${host}:${port}`
  await query(root, `create database if not exists ${DATABASE}`)
  return asService('mysql', origin, { url: `${root}/${DATABASE}` }, running)
}

const given = fromEnvironment<MysqlService>('SPILLWAY_MYSQL_URL', async (url) => {
  await query(url, 'select 1')
  return asService('mysql', 'environment', { url }, notOurs('SPILLWAY_MYSQL_URL names this server'))
})

const contained = async (): Promise<MysqlService> => {
  const { host, ports, running } = await startContainer({
    image: 'mariadb:11',
    ports: [3306],
    environment: { MARIADB_ALLOW_EMPTY_ROOT_PASSWORD: 'yes' },
    ready: (host, [port]) => query(`mysql://root@${host}:${port}`, 'select 1'),
  })
  return ours('container', host, ports[0] as number, running)
}

/** The user to be when we are root, which the server refuses to run as. */
const unprivileged = async (): Promise<(User & { readonly name: string }) | undefined> => {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['mysql', 'nobody']) {
    const ids = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]).catch(() => undefined)
    if (ids) return { name, uid: Number(ids[0]), gid: Number(ids[1]) }
  }
  return undefined
}

/** How an empty data folder is made, by the program at hand. */
export const initialisation = (program: string, installer: string | undefined, folder: string): string[] =>
  installer
    ? [installer, '--no-defaults', `--datadir=${folder}`, '--auth-root-authentication-method=normal', '--skip-test-db']
    : [program, '--no-defaults', '--initialize-insecure', `--datadir=${folder}`]

const native = async (): Promise<MysqlService> => {
  const program = await requireProgram('mariadb-server', 'mariadbd', 'mysqld')
  const installer = await findProgram('mariadb-install-db', 'mysql_install_db')
  const user = await unprivileged()
  return retried(async () => {
    const folder = await temporaryFolder('mysql')
    const data = join(folder, 'data')
    const port = await freePort()
    const running = await startDaemon({
      name: program,
      folder,
      user,
      command: program,
      args: [
        ...['--no-defaults', `--datadir=${data}`, `--socket=${join(folder, 'socket')}`, `--tmpdir=${folder}`],
        ...[`--port=${port}`, '--bind-address=127.0.0.1', '--skip-name-resolve', '--max-connections=500'],
      ],
      prepare: async () => {
        const [command, ...args] = initialisation(program, installer, data) as [string, ...string[]]
        await run(command, args, user)
      },
      ready: () => query(`mysql://root@127.0.0.1:${port}`, 'select 1'),
    })
    return ours('native', '127.0.0.1', port, running)
  })
}

/** A MySQL or MariaDB: the one that `SPILLWAY_MYSQL_URL` names, or else one of our own. */
export const startMysql = (options: MysqlOptions = {}): Promise<MysqlService> =>
  firstThatStarts<MysqlService>('mysql', [
    ...(options.private ? [] : [given]),
    { name: 'container', start: contained },
    { name: 'native', start: native },
  ])
