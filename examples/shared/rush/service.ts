import { setTimeout as sleep } from 'node:timers/promises'
import type { SaleAudit } from './types.js'

/** Nobody listens at the service's address for so long: it does not come back. */
const goneAfterMs = 10_000

/** An audit walks over all orders of a sale; the service gives up after 90 s. */
const auditMs = 95_000

const isRefused = (error: unknown): boolean =>
  error instanceof Error && (error.cause as { code?: unknown } | undefined)?.code === 'ECONNREFUSED'

/** The few questions a rush has for the service it rushes. */
export function sellingService(collection: string, url: string) {
  const ask = async <T>(path: string, init?: RequestInit, timeoutMs = 10_000): Promise<T> => {
    const response = await fetch(new URL(path, url), { ...init, signal: AbortSignal.timeout(timeoutMs) })
    const text = await response.text()
    if (!response.ok) throw new Error(`${init?.method ?? 'GET'} ${path} answered ${response.status}: ${text}`)
    return JSON.parse(text) as T
  }
  const salePath = (saleId: string): string => `/${collection}/${encodeURIComponent(saleId)}`

  return {
    ordersPath: (saleId: string): string => `${salePath(saleId)}/orders`,

    async openSale(units: number): Promise<string> {
      const sale = await ask<{ id: string }>(`/${collection}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ title: `Rush for ${units.toLocaleString('en')} units`, quantity: units }),
      })
      return sale.id
    },

    async sold(saleId: string): Promise<number> {
      return (await ask<{ sold: number }>(`${salePath(saleId)}/level`)).sold
    },

    /**
     * Asks until the audit has settled, time is up, or the service has been gone for ten seconds, and answers the last
     * look. Failed looks are tried again.
     */
    async settledAudit(
      saleId: string,
      timeoutMs: number,
      onLook: (audit: SaleAudit) => void,
    ): Promise<SaleAudit | undefined> {
      const endsAt = performance.now() + timeoutMs
      let last: SaleAudit | undefined
      let goneSinceMs: number | undefined
      for (;;) {
        const askedAt = performance.now()
        try {
          last = await ask<SaleAudit>(`${salePath(saleId)}/audit`, undefined, auditMs)
          goneSinceMs = undefined
          onLook(last)
          if (last.settled) return last
        } catch (error) {
          // The service may be starting again; the last look stands until there is another.
          if (isRefused(error)) goneSinceMs ??= performance.now()
          else goneSinceMs = undefined
        }
        const nowMs = performance.now()
        if (nowMs >= endsAt || nowMs - (goneSinceMs ?? nowMs) > goneAfterMs) return last
        // An audit walks over all orders: of a large sale it leaves half of the time to those who still write.
        await sleep(Math.max(300, nowMs - askedAt))
      }
    },
  }
}
