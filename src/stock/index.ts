export type {
  CloseRequest,
  OrderRecord,
  OrdersPage,
  SaleRequest,
  Settled,
  Settlement,
  StockChange,
  StockChanged,
  StockDriver,
  StockState,
} from './driver.js'
export { memoryStock, type MemoryStockOptions } from './memory/index.js'
export { createStock } from './stock.js'
export type {
  BasketResult,
  HoldOrder,
  Order,
  RecordedOrder,
  Reconcile,
  Reconciliation,
  RefusalReason,
  SaleResult,
  SettleResult,
  SoldOrder,
  SoldOrders,
  Stock,
  StockLevel,
  StockOptions,
} from './types.js'
