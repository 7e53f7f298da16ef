import { createPool } from 'mysql2/promise'
import type { ResultSetHeader } from 'mysql2'
import { freshName, plenty, type Seller } from './rush.js'

/** So many connections did best here: the row is written by one at a time. */
const connections = 16

const update = 'update bench_stock set count = count - 1 where sku = ? and count >= 1'

/** `UPDATE … WHERE count >= 1` in MySQL or MariaDB: alone, or with the order's id in the same transaction. */
export async function mysqlSeller(url: string, records: boolean): Promise<Seller<ResultSetHeader>> {
  const pool = createPool({ uri: url, connectionLimit: connections })
  const sku = freshName()
  await pool.query('create table if not exists bench_stock (sku varchar(64) primary key, count bigint not null)')
  await pool.query(
    'create table if not exists bench_orders (sku varchar(64), id varchar(64), quantity int not null, primary key (sku, id))',
  )
  await pool.query('insert into bench_stock values (?, ?)', [sku, plenty])

  async function sell(orderId: string): Promise<ResultSetHeader> {
    const connection = await pool.getConnection()
    try {
      if (!records) return (await connection.execute<ResultSetHeader>(update, [sku]))[0]
      await connection.query('start transaction')
      // The insert comes first, so that the hot row is locked for no longer than it must be.
      await connection.execute('insert into bench_orders values (?, ?, 1)', [sku, orderId])
      const [updated] = await connection.execute<ResultSetHeader>(update, [sku])
      await connection.query(updated.affectedRows === 1 ? 'commit' : 'rollback')
      return updated
    } finally {
      connection.release()
    }
  }

  return {
    ask: sell,
    expects: ({ affectedRows }) => affectedRows === 1,
    async close() {
      await pool.query('drop table bench_stock, bench_orders')
      await pool.end()
    },
  }
}
