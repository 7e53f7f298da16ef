export { memoryStock, type MemoryStockOptions } from './driver.js'
