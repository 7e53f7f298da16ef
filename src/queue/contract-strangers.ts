import type { Check } from './contract-shared.js'

export function strangersContract(check: Check): void {
  void check
}
