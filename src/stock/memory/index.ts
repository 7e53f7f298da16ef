export { memoryStock } from './driver.js'
