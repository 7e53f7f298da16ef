import { createConnection, type RowDataPacket } from 'mysql2/promise'
import { expect, it } from 'vitest'
import { createDatabase } from './index.js'
import { describeWithServices } from './vitest.js'

const rows = async (url: string, sql: string): Promise<RowDataPacket[]> => {
  const connection = await createConnection(url)
  try {
    const [result] = await connection.query<RowDataPacket[]>(sql)
    return result
  } finally {
    connection.destroy()
  }
}

describeWithServices(
  'startMysql',
  ['mysql'],
  ({ mysql: server }) => {
    it('answers at its URL, with a database chosen', async () => {
      expect(await rows(server.url, 'select database() as name')).toEqual([{ name: 'spillway' }])
    })

    it('gives a test a database of its own', async () => {
      const url = await createDatabase(server, 'of_its_own')
      expect(await rows(url, 'select database() as name')).toEqual([{ name: 'of_its_own' }])
      await expect(createDatabase(server, 'a`b')).rejects.toThrow('got a`b')
    })

    it('keeps what was committed over SIGKILL', async () => {
      const url = await createDatabase(server, 'killed')
      await rows(url, 'create table kept (n int primary key) engine = innodb')
      await rows(url, 'insert into kept values (1)')
      await server.kill()
      await expect(rows(url, 'select 1')).rejects.toThrow()
      await server.restart()
      expect(await rows(url, 'select n from kept')).toEqual([{ n: 1 }])
    })

    it('restarts in an orderly way', async () => {
      await server.restart()
      expect(await rows(server.url, 'select 1 as one')).toEqual([{ one: 1 }])
    })
  },
  { private: true },
)
