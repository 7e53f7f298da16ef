export type {
  CloseRequest,
  OrdersPage,
  SaleRequest,
  StockChange,
  StockChanged,
  StockDriver,
  StockState,
} from './driver.js'
export { memoryStock, type MemoryStockOptions } from './memory/index.js'
export { createStock } from './stock.js'
export type { Order, RecordedOrder, SaleResult, Stock, StockLevel, StockOptions } from './types.js'
